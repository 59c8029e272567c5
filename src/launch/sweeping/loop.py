"""The one loop of all sweeps: ask for a job, start it where there is room, wait for any to end, write it down, tell."""

import time
from collections.abc import Sequence
from pathlib import Path

from src.errors import RankFailed, UserError
from src.launch.sweeping import results
from src.launch.sweeping.continuing import without_secrets
from src.launch.sweeping.sources import Source
from src.launch.sweeping.words import describe_failures, say_ended, say_started
from src.run.signals import Signals
from src.run.status import FAILED, KILLED
from src.sweep.jobs import DONE, Ending, Job
from src.sweep.journal import ENDED, STARTED, JobRecord, append, read_jobs
from src.sweep.pool import Pool

# Seconds after which the loop looks for signals, at the latest.
LOOK = 0.5


class Loop:
    """One driver's work on a sweep. max_failures: no new job after more than so many, None for any number."""

    def __init__(
        self,
        sweep: Path,
        source: Source,
        pool: Pool,
        *,
        signals: Signals,
        objectives: Sequence[str],
        max_failures: int | None,
    ) -> None:
        self.sweep, self.source, self.pool, self.signals = sweep, source, pool, signals
        self.objectives, self.max_failures = objectives, max_failures
        self.clock: dict[Job, float] = {}
        self.failed, self.failures = failed_jobs(sweep), 0

    def run(self) -> None:
        """Until all jobs that are to be started have ended; whatever happens, the results of what there is are written.

        Raises:
            RankFailed: jobs failed, with the first one's exit code.
            Terminated, Interrupted: this driver was asked to end, and its jobs have.
        """
        try:
            with self.signals.held():
                self.work()
        finally:
            self.pool.close()
            results.conclude(self.sweep)
        self.signals.look()
        if self.failed:
            sentence = describe_failures(self.failed, total=self.source.total, spent=self.spent())
            raise RankFailed(sentence, exit_code=self.failed[0].exit_code or 1)

    def work(self) -> None:
        """Start and wait, until nothing is left or a signal has ended what runs."""
        asked = False
        while True:
            if self.signals.received is None:
                self.fill()
            elif not asked:
                asked = True
                if not self.pool.stop(self.signals.received):
                    return
            if not self.pool.running:
                return
            for job, ending in self.pool.ended(seconds=LOOK):
                self.close(job, ending)

    def fill(self) -> None:
        """Start jobs while there is room for them."""
        while self.signals.received is None and self.pool.room() and not self.spent():
            asked = self.source.ask()
            if asked is None:
                return
            job, ending = asked
            overrides = without_secrets(job.overrides)
            append(self.sweep, job=job.number, event=STARTED, overrides=overrides, trial=job.trial)
            self.clock[job] = time.monotonic()
            if ending is None:
                say_started(job, total=self.source.total)
                try:
                    self.pool.start(job)
                except UserError as error:
                    ending = Ending(state=FAILED, exit_code=error.exit_code, reason=str(error))
            if ending is not None:
                self.close(job, ending)

    def close(self, job: Job, ending: Ending) -> None:
        """Write a job's end down, first where the search and then where people read it."""
        ending, values = self.source.tell(job, ending)
        end = {"state": ending.state, "exit_code": ending.exit_code, "reason": ending.reason}
        append(self.sweep, job=job.number, event=ENDED, **end, values=None if values is None else list(values))
        seconds = time.monotonic() - self.clock.pop(job)
        say_ended(job, ending, values, objectives=self.objectives, total=self.source.total, seconds=seconds)
        self.failed = failed_jobs(self.sweep)
        self.failures += not (ending.done or ending.stopped)
        results.update(self.sweep)

    def spent(self) -> bool:
        """True if more jobs of this driver have failed than may; one that was stopped can go on, so it has not."""
        return self.max_failures is not None and self.failures > self.max_failures


def failed_jobs(sweep: Path) -> list[JobRecord]:
    """Jobs of the whole sweep that did not do what they were asked, and no retry of theirs did, by their numbers."""
    records = read_jobs(sweep).values()
    done = [record.overrides for record in records if record.state in DONE]
    return [record for record in records if record.state in (FAILED, KILLED) and record.overrides not in done]
