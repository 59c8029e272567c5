"""Where the jobs of a sweep come from, one after the other: the loop need not know whether all are known before."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from src.run.files import read_json
from src.run.status import FAILED, FINISHED, PRUNED
from src.sweep.jobs import Ending, Job
from src.sweep.objective import measure


class Asked(NamedTuple):
    """A job to start; with an `ending` one that needs no start: it cannot be, or it ended when no driver looked."""

    job: Job
    ending: Ending | None = None


class Told(NamedTuple):
    """What the source makes of an end: a job without the number that was searched for has failed."""

    ending: Ending
    values: tuple[float, ...] | None


class Source(Protocol):
    """The jobs of one sweep. total: how many there will be."""

    total: int

    def ask(self) -> Asked | None:
        """The next job; None if there is no more."""
        ...

    def tell(self, job: Job, ending: Ending) -> Told:
        """A job has ended; a stopped one will be asked for again when the sweep goes on."""
        ...


class GridSource:
    """Jobs that were all composed, checked and frozen before the first one starts. objectives: as in sweep.json."""

    def __init__(self, jobs: Iterable[Asked], *, total: int, objectives: Mapping[str, str]) -> None:
        self.jobs, self.total, self.objectives = iter(jobs), total, objectives

    def ask(self) -> Asked | None:
        """In the order of the axes, the last one fastest."""
        return next(self.jobs, None)

    def tell(self, job: Job, ending: Ending) -> Told:
        """The order is fixed, so nothing follows from an end."""
        result = read_json(job.folder / "result.json") if ending.state == FINISHED else None
        return Told(ending, measure(result, self.objectives).values)


def unseen(folder: Path) -> Ending | None:
    """How a job ended whose driver was gone by then; None for one that still has something to do."""
    status = read_json(folder / "status.json") or {}
    state = status.get("state")
    if state == PRUNED or (state == FINISHED and (folder / "report.html").exists()):
        return Ending(state=state, exit_code=0, reason=status.get("reason"))
    if state == FAILED:
        return Ending(state=FAILED, exit_code=status["exit_code"], reason=status.get("reason"))
    return None
