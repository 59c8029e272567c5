"""What is derived from a sweep's jobs: summary.csv after each end, and at the end the ranking and the report.

A mistake here must not end a sweep, as all of it can be written again from the folders of the jobs.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from src.launch.neighbours import added_folder
from src.report.sweep import write_sweep_report
from src.sweep.best import write_best
from src.sweep.journal import read_sweep
from src.sweep.ranking import rank, ranking_lines
from src.sweep.summary import write_summary


def update(sweep: Path) -> None:
    """After a job has ended."""
    _try(write_summary, sweep, what="summary.csv")


def conclude(sweep: Path) -> None:
    """At the end of a driver, good or bad."""
    update(sweep)
    _try(_ranking, sweep, what="The ranking")
    _try(_best, sweep, what="experiment/best.yaml")
    _try(_report, sweep, what="report.html")


def _ranking(sweep: Path) -> None:
    print("\n".join(ranking_lines(rank(sweep))))


def _best(sweep: Path) -> None:
    added = added_folder(read_sweep(sweep).get("command") or [])
    if path := write_best(sweep, added=added):
        print(f"best        {path}")


def _report(sweep: Path) -> None:
    print(f"report      {write_sweep_report(sweep)}", flush=True)


def _try(work: Callable[[Path], object], sweep: Path, *, what: str) -> None:
    try:
        work(sweep)
    except Exception as error:
        print(f"Note: {what} was not written: {type(error).__name__}: {error}", file=sys.stderr)
