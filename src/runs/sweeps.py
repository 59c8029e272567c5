"""`ls sweeps=true`: one line per sweep, how many of its jobs are done, and the best of them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.run.files import read_json
from src.run.index import subfolders
from src.run.process import is_gone
from src.run.status import FAILED, FINISHED, KILLED, PRUNED, RUNNING
from src.runs.output import Row, note, print_rows
from src.runs.words import Words
from src.sweep.jobs import STOPPED
from src.sweep.journal import SWEEP, JobRecord, read_jobs, read_sweep
from src.sweep.read import total_jobs

INTERRUPTED, UNREADABLE = "interrupted", "unreadable"
_LEGAL = ("sweeps", "root", "limit", "format")
COLUMNS = ("sweep", "kind", "state", "jobs", "done", "failed", "objective", "best", "job", "overrides", "created")
_DROPPABLE = ("created", "kind", "objective", "overrides")


def sweeps_in(root: Path) -> bool:
    """True for a folder whose folders are sweeps."""
    return any((Path(child) / SWEEP).is_file() for child in subfolders(str(root)))


def find_sweeps(root: Path) -> list[Path]:
    """The sweeps in `root` or in its folder sweeps/, or `root` itself, newest first as their names tell."""
    folders = [root, *(Path(child) for place in (root, root / "sweeps") for child in subfolders(str(place)))]
    found = {folder for folder in folders if (folder / SWEEP).is_file()}
    return sorted(found, key=lambda folder: folder.name, reverse=True)


def list_sweeps(root: Path, words: Words) -> None:
    """Print them.

    Raises:
        UserError: filters or options that are for runs.
    """
    foreign = [*map(str, words.filters), *(name for name in words.options if name not in _LEGAL)]
    if foreign:
        raise UserError(f"{foreign[0]} is for runs; the list of sweeps takes {', '.join(_LEGAL)}.")
    sweeps = find_sweeps(root)
    form = words.options.get("format", "table")
    rows = [describe_sweep(sweep) for sweep in sweeps[: words.options.get("limit")]]
    if not rows:
        note(f"There is no sweep below {root}. Start one: python -m src.train -m experiment=demo seed=1,2,3")
    if rows or form != "table":
        print_rows(COLUMNS, rows, form=form, droppable=_DROPPABLE)


def describe_sweep(sweep: Path) -> Row:
    """One row; what is not known yet is left out."""
    row: Row = {"sweep": sweep.name, "state": UNREADABLE}
    try:
        facts, jobs = read_sweep(sweep), read_jobs(sweep)
    except (UserError, OSError, KeyError, TypeError):
        return row
    states = Counter(job.state for job in jobs.values())
    row |= {"kind": facts.get("kind"), "created": facts.get("created"), "jobs": total_jobs(facts, known=len(jobs))}
    row |= {"state": sweep_state(sweep, facts=facts, jobs=jobs)}
    row |= {"done": states[FINISHED] + states[PRUNED], "failed": states[FAILED] + states[KILLED]}
    objectives = facts.get("objectives") or {}
    if objectives:
        row["objective"] = ", ".join(f"{name} {direction}" for name, direction in objectives.items())
    best = best_job(jobs, direction=next(iter(objectives.values()), "minimize"))
    if best is not None and best.values:
        row |= {"best": best.values[0], "job": best.number, "overrides": " ".join(best.overrides)}
    return {name: value for name, value in row.items() if value is not None}


def sweep_state(sweep: Path, *, facts: dict[str, Any], jobs: dict[int, JobRecord]) -> str:
    """finished once all its jobs have ended; running while its driver lives; else interrupted.

    A job that was stopped has not ended: who continues the sweep goes on with it.
    """
    total = total_jobs(facts, known=len(jobs))
    ended = sum(job.state != RUNNING and job.exit_code not in STOPPED for job in jobs.values())
    if total is not None and ended >= total:
        return FINISHED
    return RUNNING if is_driven(sweep) else INTERRUPTED


def is_driven(sweep: Path) -> bool:
    """Whether a driver lives, as far as can be seen from here: one on another machine is taken to live."""
    driver = read_json(sweep / ".lock") or {}
    return bool(driver) and not is_gone(driver)


def best_job(jobs: dict[int, JobRecord], *, direction: str) -> JobRecord | None:
    """The finished job with the best value of the first objective, the earliest of equals."""
    done: Sequence[JobRecord] = [job for job in jobs.values() if job.state == FINISHED and job.values]
    sign = -1.0 if direction == "maximize" else 1.0
    return min(done, key=lambda job: (sign * (job.values or (0.0,))[0], job.number), default=None)
