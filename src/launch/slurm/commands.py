"""Slurm's own commands, each with a bound in time: a cluster's controller is busy, restarts, forgets ended jobs."""

import shutil
import subprocess
from pathlib import Path

from src.errors import UserError

# Seconds for one command; a loaded controller takes a few.
BOUND = 30.0
# States after which a job neither runs nor will run again by itself.
ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"}
)


def find_sbatch() -> None:
    """Raises UserError: this machine cannot submit."""
    if shutil.which("sbatch") is None:
        raise UserError(
            "launcher=sbatch finds no sbatch on this machine; submit from a login node, or write the script with "
            "dry_run=true."
        )


def sbatch(script: Path) -> str:
    """Submit and return the job's number.

    Raises:
        UserError: Slurm refused, in its own words.
    """
    done = run("sbatch", "--parsable", str(script))
    if done.returncode != 0:
        words = " ".join(line.removeprefix("sbatch: ").removeprefix("error: ") for line in done.stderr.splitlines())
        raise UserError(f"sbatch refused the job: {words.strip() or f'exit code {done.returncode}'}. See {script}.")
    return done.stdout.strip().partition(";")[0]  # `17;cluster` where there are several clusters


def job_states(jobs: list[str]) -> dict[str, str] | None:
    """Slurm's word for how each job stands; those it has forgotten are left out. None if Slurm does not answer."""
    done = run("squeue", "--noheader", "--states=all", f"--jobs={','.join(jobs)}", "--format=%i %T")
    if done.returncode == 0:
        return dict(line.split() for line in done.stdout.splitlines())
    return {} if "Invalid job id" in done.stderr else None


def requeue(job: str) -> str | None:
    """Ask for the job's next turn; None if Slurm agreed, else what went wrong."""
    done = run("scontrol", "requeue", job)
    return None if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """The command's end; one that is missing or takes longer than `BOUND` has failed, and says so on its stderr."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=BOUND)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"there is no {command[0]} on this machine")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"{command[0]} did not answer within {BOUND:.0f} s")
