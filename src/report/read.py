"""All a report needs of a run folder, read once; what is absent or damaged becomes a sentence, not an error."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.run.files import read_json
from src.run.index import RunRecord, read_config, read_run
from src.run.ledger import read_ledger
from src.run.manifest import Manifest, find_best
from src.run.metrics import Row, read_rows
from src.run.predictions import Predictions, read_predictions
from src.run.secrets import redact


@dataclass(kw_only=True)
class RunFiles:
    """The content of a run folder. Empty values stand for missing files; `missing` says which, and what follows."""

    path: Path
    record: RunRecord
    config_text: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    predictions: dict[str, Predictions] = field(default_factory=dict)
    best: Manifest | None = None
    samples: str = ""  # what a language model wrote; absent for all others
    missing: list[str] = field(default_factory=list)


def read_files(path: Path) -> RunFiles:
    """Read the run in `path`; raises UserError if it is no run folder (no status.json in it)."""
    if not (path / "status.json").is_file():
        raise UserError(f"The folder ({path}) is no run: it holds no status.json. Name one below outputs/train.")
    files = RunFiles(path=path, record=read_run(path))
    if not files.record.status:
        files.missing.append("status.json is damaged: how the run ended is unknown.")
    if not files.record.result:
        files.missing.append("result.json is missing: the run has no final metrics.")
    # Redacted when written, and once more here: the page is the file that people pass on.
    files.config_text = redact(_text(files, "config.yaml", "the configuration is unknown"))
    files.command = redact(_text(files, "command.txt", "the command is unknown"))
    files.environment = read_json(path / "env.json") or {}
    if not files.environment:
        files.missing.append("env.json is missing or damaged: versions, machine and data are unknown.")
    files.rows = _rows(files)
    files.ledger = read_ledger(path)
    try:
        files.config = read_config(path)
        files.best = find_best(path / "checkpoints")
    except UserError as error:
        files.missing.append(str(error))
    samples = path / "samples.txt"
    files.samples = samples.read_text(encoding="utf-8", errors="replace") if samples.is_file() else ""
    for split in ("val", "test"):
        _read_split(files, split)
    return files


def _text(files: RunFiles, name: str, consequence: str) -> str:
    try:
        return (files.path / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        files.missing.append(f"{name} is missing: {consequence}.")
        return ""


def _rows(files: RunFiles) -> list[Row]:
    if not (files.path / "metrics.csv").is_file():
        files.missing.append("metrics.csv is missing: there are no learning curves.")
    return read_rows(files.path / "metrics.csv")


def _read_split(files: RunFiles, split: str) -> None:
    name = f"predictions_{split}.npz"
    try:
        found = read_predictions(files.path / name)
    except ValueError as error:
        files.missing.append(f"{error}: no matrix and no curves of {split}.")
        return
    if found is None and any("val/ppl" in row for row in files.rows):
        return  # a language model has none
    if found is None:
        files.missing.append(f"{name} is missing: no matrix and no curves of {split}.")
    else:
        files.predictions[split] = found


def series(rows: list[Row], name: str, *, axis: str) -> tuple[list[float], list[float]]:
    """Values of metric `name` along `axis` (epoch or step); several in one epoch become their mean.

    Both are counted from 1, as on the console and in result.json; metrics.csv counts them from 0.
    """
    groups: dict[float, list[float]] = {}
    for row in rows:
        if name in row and axis in row:
            groups.setdefault(row[axis] + 1, []).append(row[name])
    places = sorted(groups)
    return places, [math.fsum(groups[place]) / len(groups[place]) for place in places]


def choose_axis(rows: list[Row], name: str = "val/loss") -> str:
    """`epoch`, unless the metric was measured more often than once per epoch: then `step`."""
    epochs = [row.get("epoch") for row in rows if name in row]
    return "epoch" if len(epochs) == len(set(epochs)) else "step"


def label_names(files: RunFiles) -> list[str]:
    """The names of the classes in the configuration; none if it has none."""
    data = files.config.get("data")
    names = data.get("label_names") if isinstance(data, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []
