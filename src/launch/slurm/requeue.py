"""`python -m src.launch.slurm.requeue <run folder>`: the next turn for a job that was asked to leave and has saved."""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.launch.slurm import commands
from src.run.files import read_json
from src.run.folder import RunFolder
from src.run.manifest import Manifest, find_last
from src.run.status import KILLED, SUBMITTED, now

OBEYED = ("SIGUSR1", "SIGUSR2", "SIGTERM")
# Seconds. A longer attempt that saved nothing new would do the same again, for ever; a shorter one was preempted.
SHORT = 600


def requeue(folder: Path) -> None:
    """Ask Slurm once, or say in one line why not. Never fails: the job's exit code is that of the run."""
    run = RunFolder(folder)
    try:
        problem = why_not(read_json(run.status) or {}, find_last(run.checkpoints))
    except UserError as error:
        problem = str(error)
    if problem is None:
        problem = commands.requeue(os.environ["SLURM_JOB_ID"])
    if problem is not None:
        print(
            f"Note: the job is not queued again: {problem}. Its checkpoints are in {run.checkpoints}.", file=sys.stderr
        )


def why_not(status: dict[str, Any], last: Manifest | None) -> str | None:
    """None if another turn makes sense. status: of the attempt that has just ended."""
    if status.get("state") == SUBMITTED:
        return None  # stopped before it began
    if status.get("state") != KILLED or status.get("signal") not in OBEYED:
        return f"the run is {status.get('state')}, not stopped by a signal to leave"
    started = status["started"]
    took = (datetime.fromisoformat(now()) - datetime.fromisoformat(started)).total_seconds()
    if took > SHORT and (last is None or last.time < started):
        return f"no new checkpoint in {took:.0f} s; the next turn would fare the same. Give launcher.time more"
    return None


if __name__ == "__main__":
    requeue(Path(sys.argv[1]))
