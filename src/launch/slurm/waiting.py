"""Waits for submitted jobs. It always ends: Slurm says which jobs are over, the run folders say how they went."""

import sys
import time
from collections.abc import Sequence

from src.errors import RankFailed
from src.launch.slurm import commands
from src.launch.slurm.submission import Job
from src.run.files import read_json
from src.run.heartbeat import read_beats
from src.run.status import KILLED, OUT_OF_MEMORY, RUNNING, SUBMITTED, now, write_status
from src.sweep.jobs import DONE

# Seconds that Slurm may stay silent: a controller is restarted in minutes.
PATIENCE = 1800.0
UNKNOWN = "unknown"  # Slurm forgets a job some minutes after its end
# What Slurm's word for an end means as an exit code; 1 for any other.
CODES = {"OUT_OF_MEMORY": OUT_OF_MEMORY, "CANCELLED": 143, "PREEMPTED": 143, "TIMEOUT": 143}


def wait(jobs: Sequence[Job], *, poll_seconds: float) -> dict[Job, RankFailed | None]:
    """How each job ended: None for one that did what it was asked.

    Raises:
        RankFailed: Slurm did not answer for `PATIENCE` seconds.
    """
    endings: dict[Job, RankFailed | None] = {}
    waiting = list(jobs)
    try:
        watch(waiting, endings, poll_seconds=poll_seconds)
    except (KeyboardInterrupt, SystemExit):
        numbers = " ".join(job.number for job in jobs if job not in endings)
        print(f"Not waiting any longer; jobs {numbers} go on. `scancel {numbers}` ends them.", file=sys.stderr)
        raise
    return endings


def watch(waiting: list[Job], endings: dict[Job, RankFailed | None], *, poll_seconds: float) -> None:
    """Move each job from `waiting` to `endings` when it has ended."""
    answered = time.monotonic()
    while waiting:
        states = commands.job_states([job.number for job in waiting])
        if states is not None:
            answered = time.monotonic()
            over = {job: states.get(job.number, UNKNOWN) for job in waiting if ended(job, states)}
            if over:
                # The folder's file system may show what another machine wrote a moment late.
                time.sleep(poll_seconds)
            endings |= {job: ending(job, state) for job, state in over.items()}
            waiting = [job for job in waiting if job not in endings]
        elif time.monotonic() - answered > PATIENCE:
            numbers = " ".join(job.number for job in waiting)
            raise RankFailed(f"Slurm has not answered for {PATIENCE:.0f} s. Jobs {numbers} may still run.", exit_code=1)
        if waiting:
            time.sleep(poll_seconds)


def ended(job: Job, states: dict[str, str]) -> bool:
    """True for a job that neither runs nor will; one that Slurm no longer knows has ended long ago."""
    return states.get(job.number) in commands.ENDED or job.number not in states


def ending(job: Job, state: str) -> RankFailed | None:
    """What the run folder says; where the job had no chance to write (SIGKILL, a lost node), Slurm's word for it."""
    run, log = job.run, job.run.logs / f"slurm-{job.number}.log"
    status = read_json(run.status) or {}
    if status.get("state") in DONE and state in ("COMPLETED", UNKNOWN):
        return None
    code, reason = int(status.get("exit_code", 1)), status.get("reason") or stopped_by(status.get("signal"))
    # The rank that ended first by itself knows better than rank 0, which may only have lost its connection.
    outcomes = [beat.outcome for beat in read_beats(run.logs).values() if beat.outcome is not None]
    own = [outcome for outcome in outcomes if outcome.exit_code and not outcome.lost]
    first = min(own, key=lambda outcome: outcome.at, default=None)
    if status.get("state") in DONE:
        code, reason = 1, f"finished its run, then ended as {state}; see {log}"
    elif first is not None:
        code, reason = first.exit_code, first.sentence if first.signal is None else stopped_by(first.signal)
    elif status.get("state") in (RUNNING, SUBMITTED):
        code, reason = CODES.get(state, 1), f"ended without a word, {state} to Slurm; see {log}"
    if status.get("state") in (RUNNING, SUBMITTED):
        write_status(run.status, **{**status, "state": KILLED, "reason": reason, "exit_code": code, "ended": now()})
    return RankFailed(f"Job {job.number} ({run.path}): {reason.rstrip('.')}.", exit_code=code)


def stopped_by(signal: str | None) -> str:
    """The reason of a run that obeyed a signal; its checkpoints are good."""
    return f"stopped by {signal}; resume=auto continues it"
