"""The jobs of a sweep as batch jobs of Slurm, so many in the queue at once."""

import shlex
import signal
import sys
import time
from pathlib import Path

from src.errors import RankFailed
from src.launch.slurm import commands
from src.launch.slurm.submission import NUMBER, submit
from src.launch.slurm.submission import Job as Submitted
from src.launch.slurm.waiting import PATIENCE, UNKNOWN, ended, ending
from src.run.files import read_json
from src.run.folder import RunFolder
from src.run.index import read_config
from src.sweep.jobs import Ending, Job


class SlurmPool:
    """`parallel` jobs in the queue, waiting or running. They outlive the driver; the next one finds them again."""

    def __init__(self, *, parallel: int, poll_seconds: float) -> None:
        self.parallel, self.poll_seconds = parallel, poll_seconds
        self.jobs: dict[Job, Submitted] = {}
        self.looked = self.answered = time.monotonic()

    @property
    def running(self) -> list[Job]:
        """Jobs in the queue."""
        return list(self.jobs)

    def room(self) -> bool:
        """True if fewer than `parallel` are in the queue."""
        return len(self.jobs) < self.parallel

    def start(self, job: Job) -> None:
        """Submit it, unless an earlier driver has, and it still waits or runs.

        Raises:
            UserError: Slurm refused the job.
        """
        number = self.in_queue(job.folder)
        if number is not None:
            self.jobs[job] = Submitted(number, RunFolder(job.folder))
            print(f"job {job.number} is in the queue already, as {number}", flush=True)
            return
        run = RunFolder.claim(job.folder, resume=True)
        command = shlex.split(run.command.read_text(encoding="utf-8"))
        submitted = submit(read_config(job.folder), run, command=command)
        assert submitted is not None
        self.jobs[job] = submitted

    def in_queue(self, folder: Path) -> str | None:
        """Slurm's number of the job of this folder, if it knows one that has not ended; also if it does not answer."""
        path = folder / NUMBER
        number = path.read_text().strip() if path.exists() else None
        if number is None:
            return None
        states = commands.job_states([number])
        return None if states is not None and ended(Submitted(number, RunFolder(folder)), states) else number

    def ended(self, *, seconds: float) -> list[tuple[Job, Ending]]:
        """Ask Slurm, but not more often than every `poll_seconds`; the wait in between is at most `seconds`.

        Raises:
            RankFailed: Slurm has not answered for `PATIENCE` seconds.
        """
        left = self.looked + self.poll_seconds - time.monotonic()
        if left > 0:
            time.sleep(min(left, seconds))
        if left > seconds:
            return []
        self.looked = time.monotonic()
        states = commands.job_states([submitted.number for submitted in self.jobs.values()])
        if states is None:
            if self.looked - self.answered > PATIENCE:
                raise RankFailed(f"Slurm has not answered for {PATIENCE:.0f} s. {self.left_over()}", exit_code=1)
            return []
        self.answered = self.looked
        over = {job: submitted for job, submitted in self.jobs.items() if ended(submitted, states)}
        if over:
            time.sleep(self.poll_seconds)  # what another machine wrote is seen here a moment late
        for job in over:
            del self.jobs[job]
        return [(job, outcome(made, states.get(made.number, UNKNOWN))) for job, made in over.items()]

    def stop(self, received: signal.Signals) -> bool:
        """A driver that leaves does not take the cluster's jobs with it."""
        print(f"Asked to end by {received.name}. {self.left_over()}", file=sys.stderr, flush=True)
        return False

    def left_over(self) -> str:
        """Who goes on without the driver, and the two ways to deal with it."""
        numbers = " ".join(submitted.number for submitted in self.jobs.values())
        return f"Jobs {numbers} go on; resume=auto waits for them again, `scancel {numbers}` ends them."

    def close(self) -> None:
        """Nothing of the driver's own is left behind."""


def outcome(submitted: Submitted, state: str) -> Ending:
    """How a job ended. state: Slurm's word for it."""
    failure = ending(submitted, state)
    status = read_json(submitted.run.status) or {}
    if failure is None:
        return Ending(state=status["state"], exit_code=0, reason=status.get("reason"))
    said = status.get("state")
    return Ending(state="killed" if said == "killed" else "failed", exit_code=failure.exit_code, reason=str(failure))
