"""What the terminal shows of a sweep: one line for each start and each end."""

import sys
from collections.abc import Sequence

from src.run.secrets import redact_text
from src.run.status import FINISHED, PRUNED
from src.sweep.jobs import Ending, Job
from src.sweep.journal import JobRecord


def say_started(job: Job, *, total: int) -> None:
    """`job 3 of 12 started: optimizer.lr=0.001 seed=2`."""
    print(f"job {job.number} of {total} started: {words_of(job.overrides)}", flush=True)


def say_ended(
    job: Job, ending: Ending, values: tuple[float, ...] | None, *, objectives: Sequence[str], total: int, seconds: float
) -> None:
    """`job 3 of 12 finished: val/loss 0.4512 (optimizer.lr=0.001 seed=2) 34 s`; failures go to standard error."""
    line = f"job {job.number} of {total} {ending.state}"
    if ending.state == FINISHED:
        pairs = zip(objectives, values or (), strict=False)
        line += f": {', '.join(f'{name} {figure(value)}' for name, value in pairs) or 'without a measurement'}"
    else:
        code = "" if ending.done else f" with exit code {ending.exit_code}"
        line += f"{code}: {first_line(ending.reason)}"
    good = ending.state in (FINISHED, PRUNED)
    print(f"{line} ({words_of(job.overrides)}) {seconds:.0f} s", file=sys.stdout if good else sys.stderr, flush=True)


def say_planned(jobs: Sequence[Job], *, total: int) -> None:
    """What a dry run would start."""
    for job in jobs:
        print(f"job {job.number} of {total}: {words_of(job.overrides)}")
    print(f"{len(jobs)} of {total} jobs would be started; nothing was written.", flush=True)


def describe_failures(failed: Sequence[JobRecord], *, total: int, spent: bool) -> str:
    """The sentence with which a sweep ends that has failed jobs, the first one named."""
    first = failed[0]
    count = f"{len(failed)} of {total} jobs did not finish; the first was job {first.number}"
    limit = "hydra.sweeper.max_failures"
    stop = f" More than {limit}, so that no more were started; {limit}=null starts them all." if spent else ""
    return f"{count} ({words_of(first.overrides)}): {first_line(first.reason)}.{stop}"


def figure(value: float) -> str:
    """Four decimals, or four digits of a number that is far too large."""
    return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.3e}"


def words_of(overrides: Sequence[str]) -> str:
    """The overrides of a job as they would be typed, without secrets."""
    return " ".join(map(redact_text, overrides)) or "no axis"


def first_line(reason: str | None) -> str:
    """A reason fit for one line."""
    return (reason or "no reason was written").strip().splitlines()[0].rstrip(".")
