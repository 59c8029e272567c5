"""What is derived from a sweep's jobs: summary.csv after each end, and at the end the ranking and the report.

A mistake here must not end a sweep, as all of it can be written again from the folders of the jobs.
"""

import sys
from collections.abc import Callable
from pathlib import Path


def update(sweep: Path) -> None:
    """After a job has ended."""
    _try(_summary, sweep, what="summary.csv")


def conclude(sweep: Path) -> None:
    """At the end of a driver, good or bad."""
    _try(_summary, sweep, what="summary.csv")
    _try(_best, sweep, what="experiment/best.yaml")
    _try(_ranking, sweep, what="The ranking")
    _try(_report, sweep, what="report.html")


def _summary(sweep: Path) -> None:
    from src.sweep.summary import write_summary

    write_summary(sweep)


def _best(sweep: Path) -> None:
    from src.sweep.best import write_best

    write_best(sweep)


def _ranking(sweep: Path) -> None:
    from src.sweep.ranking import rank, ranking_lines

    print("\n".join(ranking_lines(rank(sweep))))


def _report(sweep: Path) -> None:
    from src.report.sweep import write_sweep_report

    print(f"report      {write_sweep_report(sweep)}", flush=True)


def _try(work: Callable[[Path], None], sweep: Path, *, what: str) -> None:
    try:
        work(sweep)
    except Exception as error:
        print(f"Note: {what} was not written: {type(error).__name__}: {error}", file=sys.stderr)
