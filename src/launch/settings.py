"""The root of the config: what `conf/train.yaml` composes to, key by key."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from src.check.sections import Accumulation, Launcher, Paths

# Of a run that was saved before there was a choice.
THRESHOLD = {"_target_": "src.evaluation.thresholds.F1"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A composed run. `check` reads the legal root keys and their types from this constructor.

    A section (model, data, ...) is the plain dict of one choice; its own keys are checked against the constructor that
    its `_target_` names.
    """

    seed: Annotated[int, ">= 0"]
    monitor: str
    monitor_mode: Literal["min", "max"]
    test: bool
    tags: list[str]
    init_from: str | None
    branch_from: str | None = None
    resume: str
    resume_changes: list[str]
    model: dict[str, Any]
    task: dict[str, Any]
    data: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    trainer: dict[str, Any]
    callbacks: dict[str, Any]
    logger: dict[str, Any]
    paths: Paths
    threshold: dict[str, Any] = field(default_factory=lambda: dict(THRESHOLD))
    accumulation: Accumulation = field(default_factory=Accumulation)
    launcher: Launcher = field(default_factory=Launcher)
    dry_run: bool = False
