"""Which config of a sweep is best: jobs that differ in their seed alone are one, ranked by the objective's mean."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from src.run.status import PRUNED
from src.sweep.read import SEED, JobRow, Sweep, read

LINES = 10  # groups that the terminal shows


@dataclass(frozen=True, kw_only=True)
class Group:
    """Jobs with the same swept values. values: (n, objectives), of those that measured them, in the order of jobs.

    rank: from 1, equal means share it; None without a value, and where several objectives leave no order. front: no
    other group is better in one objective and at least as good in all others.
    """

    params: dict[str, str]
    jobs: tuple[JobRow, ...]
    values: np.ndarray
    failed: int  # seeds that ended without a value, and were not tried again with success
    pruned: int
    rank: int | None = None
    front: bool = False

    @property
    def n(self) -> int:
        """Seeds that have a value."""
        return len(self.values)

    @property
    def open(self) -> int:
        """Jobs that have not ended."""
        return sum(not job.ended for job in self.jobs)

    @property
    def mean(self) -> tuple[float, ...]:
        """Per objective; empty without a value."""
        return tuple(map(float, self.values.mean(axis=0))) if self.n else ()

    @property
    def std(self) -> tuple[float, ...]:
        """Per objective, with n - 1; empty for fewer than two values."""
        with np.errstate(over="ignore", invalid="ignore"):  # a loss of 1e200 is a number as well
            return tuple(map(float, self.values.std(axis=0, ddof=1))) if self.n > 1 else ()


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The groups, best first; those of the Pareto front first where there are several objectives."""

    sweep: Sweep
    groups: tuple[Group, ...]

    @property
    def best(self) -> Group | None:
        """The first group that no seed failed of, else the first: one lucky seed of three is not yet the best."""
        ranked = [group for group in self.groups if group.n]
        whole = [group for group in ranked if not group.failed and not group.open]
        # With several objectives what is off the front is worse in all of them, failed seeds or not.
        if len(self.sweep.objectives) > 1:
            whole = [group for group in whole if group.front]
        return next(iter(whole or ranked), None)


def rank(sweep: Path) -> Ranking:
    """The ranking of a sweep folder; raises UserError if it is none."""
    return rank_jobs(read(sweep))


def rank_jobs(sweep: Sweep) -> Ranking:
    """The ranking of a sweep that was read."""
    members: dict[tuple[tuple[str, str], ...], list[JobRow]] = {}
    for job in sweep.jobs:
        members.setdefault(tuple(sorted((k, v) for k, v in job.params.items() if k != SEED)), []).append(job)
    groups = [_group(jobs, len(sweep.objectives)) for jobs in members.values()]
    measured = [group for group in groups if group.n]
    costs = np.array([group.mean for group in measured]).reshape(len(measured), len(sweep.signs)) * sweep.signs
    front = pareto_front(costs)
    first = costs[:, 0]
    order = sorted(range(len(measured)), key=lambda i: (not front[i], first[i], measured[i].jobs[0].number))
    if len(sweep.objectives) == 1:
        ranked = [replace(measured[i], rank=int((first < first[i]).sum()) + 1, front=bool(front[i])) for i in order]
    else:
        ranked = [replace(measured[i], front=bool(front[i])) for i in order]
    return Ranking(sweep=sweep, groups=(*ranked, *(group for group in groups if not group.n)))


def _group(jobs: Sequence[JobRow], width: int) -> Group:
    values = [job.values for job in jobs if job.values is not None]
    done = [job.params for job in jobs if job.values is not None]
    lost = [job for job in jobs if job.values is None and job.ended and job.state != PRUNED]
    return Group(
        params={key: text for key, text in jobs[0].params.items() if key != SEED},
        jobs=tuple(jobs),
        values=np.array(values, dtype=np.float64).reshape(len(values), width),
        failed=sum(job.params not in done for job in lost),
        pruned=sum(job.state == PRUNED for job in jobs),
    )


def pareto_front(costs: np.ndarray) -> np.ndarray:
    """(N,) booleans: no other row of costs (N, objectives), less is better, is better once and never worse."""
    never_worse = np.all(costs[:, None] <= costs[None], axis=2)
    once_better = np.any(costs[:, None] < costs[None], axis=2)
    return np.asarray(~np.any(never_worse & once_better, axis=0))


def number(value: float) -> str:
    """A value for people: a count whole, else four decimals, or four digits of what those would hide."""
    if float(value).is_integer() and 100 <= abs(value) < 1e15:
        return f"{value:.0f}"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.3e}"


def spread(group: Group, place: int) -> str:
    """`0.4012 ± 0.0031`, the mean alone of one value, a dash without any."""
    return number(group.mean[place]) + margin(group, place) if group.n else "-"


def margin(group: Group, place: int) -> str:
    """` ± 0.0031`, as many decimals as the mean has; nothing for fewer than two values."""
    if not group.std:
        return ""
    fixed = "." in number(group.mean[place]) and "e" not in number(group.mean[place])
    return f" ± {group.std[place]:.4f}" if fixed and group.std[place] < 1e6 else f" ± {number(group.std[place])}"


def note(group: Group) -> str:
    """What the mean does not tell: seeds that failed, were pruned or are not done yet."""
    counts = ((group.failed, "failed"), (group.pruned, "pruned"), (group.open, "not done"))
    return ", ".join(f"{count} {word}" for count, word in counts if count)


def ranking_lines(ranking: Ranking) -> list[str]:
    """The first groups as an aligned table, for a terminal."""
    objectives = list(ranking.sweep.objectives)
    keys = [key for key in ranking.sweep.keys if key != SEED]
    several = len(objectives) > 1
    rows = [["front" if several else "rank", *objectives, "n", *keys, "jobs", ""]]
    for group in ranking.groups[:LINES]:
        place = ("yes" if group.front else "") if several else str(group.rank or "-")
        means = [spread(group, i) for i in range(len(objectives))]
        jobs = ",".join(str(job.number) for job in group.jobs)
        rows.append([place, *means, str(group.n), *(group.params.get(key, "-") for key in keys), jobs, note(group)])
    if len(rows) == 1:
        return ["No job has been started."]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = len(ranking.groups) - LINES
    return lines + ([f"{more} more in {ranking.sweep.path / 'summary.csv'}"] if more > 0 else [])
