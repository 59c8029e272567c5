"""A sweep as its readers need it: one row per job, from what the driver wrote down and what the job's folder holds."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.run.files import read_json
from src.run.index import UNREADABLE, read_run
from src.run.status import FAILED, FINISHED, KILLED, PREPARED, PRUNED, RUNNING
from src.run.waiting import in_threads
from src.sweep.jobs import STOPPED
from src.sweep.journal import JobRecord, read_jobs, read_sweep
from src.sweep.objective import measure
from src.sweep.space import read_space

SEED = "seed"


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """One job. params: text by swept key, in the order of the axes; values: of the objectives, None without all."""

    number: int
    folder: Path
    state: str
    reason: str = ""
    exit_code: int | None = None
    trial: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    values: tuple[float, ...] | None = None
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """False also for a job that was stopped or lost its driver, which a continued sweep goes on with."""
        if self.state == KILLED:
            return self.exit_code not in (*STOPPED, None)
        return self.state in (FINISHED, FAILED, PRUNED)

    @property
    def seed(self) -> Any:
        """Swept, or what result.json says; None if neither tells."""
        return self.params.get(SEED, self.result.get(SEED))


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """facts: sweep.json; objectives: direction by name, the first one decides the order; jobs: those started so far."""

    path: Path
    facts: dict[str, Any]
    objectives: dict[str, str]
    jobs: tuple[JobRow, ...]

    @property
    def keys(self) -> list[str]:
        """What was swept, in the order of the axes; keys that only jobs name come last."""
        return list(dict.fromkeys([*self.facts["axes"], *(key for job in self.jobs for key in job.params)]))

    @property
    def total(self) -> int | None:
        """How many jobs there will be."""
        return total_jobs(self.facts, known=len(self.jobs))

    @property
    def signs(self) -> tuple[int, ...]:
        """One per objective: 1 where less is better, -1 where more is."""
        return tuple(-1 if direction == "maximize" else 1 for direction in self.objectives.values())


def read(path: Path) -> Sweep:
    """The sweep in a folder; a job whose files are missing or damaged keeps its row.

    Raises:
        UserError: there is no sweep.json that can be read.
    """
    facts = read_sweep(path)
    facts["axes"] = {key.lstrip("+"): axis for key, axis in (facts.get("axes") or {}).items()}
    objectives = dict(facts.get("objectives") or {})
    jobs = in_threads(lambda record: _row(path, record, objectives), list(read_jobs(path).values()))
    return Sweep(path=path, facts=facts, objectives=objectives, jobs=tuple(jobs))


def total_jobs(facts: dict[str, Any], *, known: int) -> int | None:
    """How many jobs a sweep will have: those asked for when it began, or more if it has them; None if nothing tells.

    facts: sweep.json, which is written once, while a continued search may ask for more; known: those started so far.
    """
    asked = facts.get("jobs")
    if not isinstance(asked, int):
        return None
    points = _points(facts)
    return max(known, asked if points is None else min(asked, points))


def _points(facts: dict[str, Any]) -> int | None:
    """How many points the space of a search has, each of which is tried once; None if they cannot be counted."""
    if facts.get("kind") != "search":
        return None
    try:
        counts = [axis.count for axis in read_space(facts.get("axes") or {}).values()]
    except UserError:  # the values of a secret axis are not written down
        return None
    return None if None in counts else math.prod(filter(None, counts))


def _row(sweep: Path, record: JobRecord, objectives: dict[str, str]) -> JobRow:
    folder = sweep / str(record.number)
    state, reason = _state(folder, record)
    result = read_json(folder / "result.json") or {}
    values = record.values
    if values is None and state == FINISHED:
        measured = measure(result, objectives)
        values, reason = measured.values, reason or measured.reason or ""
    pairs = (override.lstrip("+").partition("=") for override in record.overrides)
    return JobRow(
        number=record.number,
        folder=folder,
        state=state,
        reason=reason,
        exit_code=record.exit_code,
        trial=record.trial,
        params={key: text for key, _, text in pairs},
        values=values,
        result=result,
    )


def _state(folder: Path, record: JobRecord) -> tuple[str, str]:
    """As the driver wrote it down; of a job whose end no driver has seen, as its folder tells."""
    if record.state != RUNNING:
        return record.state, record.reason or ""
    run = read_run(folder)
    if run.state == UNREADABLE:
        return UNREADABLE, "status.json is missing or damaged"
    gone = run.state != RUNNING and run.status.get("state") == RUNNING
    reason = "its process is gone" if gone else str(run.status.get("reason") or run.status.get("signal") or "")
    return RUNNING if run.state == PREPARED else run.state, reason
