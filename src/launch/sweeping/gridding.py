"""A grid: every combination of the axes, all of them checked before the first one starts."""

import sys
from typing import Any

from src.launch.sweeping.arguments import Typed, grid, values_of
from src.launch.sweeping.composing import Composer
from src.launch.sweeping.continuing import axes_without_secrets, without_secrets
from src.launch.sweeping.freezing import freeze, is_frozen
from src.launch.sweeping.places import Places
from src.launch.sweeping.sources import Asked, GridSource, Source, unseen
from src.launch.sweeping.words import say_planned
from src.run.index import read_config
from src.run.status import RUNNING, now
from src.sweep.jobs import DONE, STOPPED, Job
from src.sweep.journal import JobRecord, read_jobs, read_sweep

MANY = 20  # jobs that take so long to compose that a word is due
GOALS = {"min": "minimize", "max": "maximize"}


class Grid:
    """See src/launch/sweeping/driver.py. retry_failed: jobs that have failed start again in their folders."""

    def __init__(self, typed: Typed, composer: Composer, places: Places, *, retry_failed: bool) -> None:
        self.typed, self.composer, self.places, self.retry_failed = typed, composer, places, retry_failed
        self.axes = values_of(typed.axes, parser=composer.parser)
        self.folder, self.size = composer.folder, len(grid(self.axes))
        self.todo: list[Asked] = []
        self.configs: dict[Job, dict[str, Any]] = {}

    def facts(self) -> dict[str, Any]:
        """The first job stands for all where the config is asked: what is measured, and what is better."""
        first = self.composer.compose(self.all_of(grid(self.axes)[0]))
        return {
            "kind": "grid",
            "command": without_secrets(sys.argv[1:]),
            "overrides": without_secrets(self.typed.fixed),
            "axes": axes_without_secrets(self.axes),
            "objectives": {first.monitor: GOALS[first.monitor_mode]},
            "sampler": None,
            "pruner": None,
            "seed": None,
            "jobs": self.size,
            "created": now(),
        }

    def check(self, *, continued: bool) -> None:
        """Compose and check each job that is not frozen yet; those that have ended are left as they are.

        Raises:
            UserError: what the command line of one job alone would be refused for.
        """
        sweep = self.folder
        records = read_jobs(sweep) if continued else {}
        # Numbers follow the order in which the axes were typed first.
        order = read_sweep(sweep)["axes"] if continued else self.axes
        new = sum(not is_frozen(sweep / str(number)) for number in range(self.size))
        if new > MANY:
            print(f"composing   {new} jobs", flush=True)
        for number, overrides in enumerate(grid({key: self.axes[key] for key in order})):
            record, folder = records.get(number), sweep / str(number)
            if record is not None and self.is_over(record):
                continue
            frozen = is_frozen(folder)
            config = read_config(folder) if frozen else self.composer.make(self.all_of(overrides), folder=folder)
            job = Job(number=number, folder=folder, overrides=overrides, gpus=self.places.accept(config))
            running = record is not None and record.state == RUNNING
            self.todo.append(Asked(job, unseen(folder) if running else None))
            if not frozen:
                self.configs[job] = config

    def is_over(self, record: JobRecord) -> bool:
        """True for a job that is not to be started again."""
        if record.state in DONE:
            return True
        return record.state != RUNNING and record.exit_code not in STOPPED and not self.retry_failed

    def all_of(self, overrides: tuple[str, ...]) -> tuple[str, ...]:
        """The command line of one job."""
        return (*self.typed.fixed, *overrides)

    def show(self) -> None:
        """The jobs that would be started."""
        say_planned([asked.job for asked in self.todo], total=self.size)

    def open(self) -> None:
        """All jobs are known."""

    def source(self) -> Source:
        """Freezes all jobs: what is changed in conf/ while the sweep runs does not reach it."""
        for job, config in self.configs.items():
            freeze(config, job.folder, overrides=self.all_of(job.overrides))
        return GridSource(self.todo, total=self.size, objectives=read_sweep(self.folder)["objectives"])
