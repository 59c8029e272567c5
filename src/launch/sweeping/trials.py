"""The jobs of a search: those that a killed driver left first, then what the study draws."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.launch.door import say
from src.launch.sweeping.composing import Composer
from src.launch.sweeping.freezing import freeze, is_frozen, refuse
from src.launch.sweeping.places import Places
from src.launch.sweeping.sources import Asked, Told, unseen
from src.run.files import read_json
from src.run.index import read_config
from src.run.status import FAILED, FINISHED, RUNNING
from src.sweep.jobs import Ending, Job
from src.sweep.journal import JobRecord
from src.sweep.objective import Measured, measure
from src.sweep.study import Search, Trial


class SearchSource:
    """See src/launch/sweeping/sources.py. fixed: overrides of all jobs; records: of earlier drivers, by number."""

    def __init__(
        self,
        search: Search,
        composer: Composer,
        places: Places,
        *,
        fixed: tuple[str, ...],
        records: Mapping[int, JobRecord],
    ) -> None:
        self.search, self.composer, self.places, self.fixed = search, composer, places, fixed
        self.total, self.next = search.n_trials, max(records, default=-1) + 1
        self.numbers = {record.trial: record.number for record in records.values()}
        running = search.running()
        self.left: list[Asked | Trial] = [*self.untold(records, running), *running]

    def untold(self, records: Mapping[int, JobRecord], running: list[Trial]) -> list[Asked]:
        """Jobs whose end the study knows, and the record of the sweep does not: the driver was killed in between."""
        alive = {trial.number for trial in running}
        found = []
        for record in records.values():
            if record.state == RUNNING and record.trial not in alive:
                status = read_json(self.folder(record.number) / "status.json") or {}
                ending = Ending(
                    state=status.get("state", FAILED), exit_code=status.get("exit_code", 1), reason=status.get("reason")
                )
                found.append(Asked(self.job(record.number, Trial(record.trial or 0, record.overrides)), ending))
        return found

    def ask(self) -> Asked | None:
        """What was left, then a new point; one that no run can have has failed already."""
        left = self.left.pop(0) if self.left else self.search.ask()
        if left is None and self.search.over:
            print(self.search.over, file=sys.stderr)
        return self.begin(left) if isinstance(left, Trial) else left

    def begin(self, trial: Trial) -> Asked:
        """The job of a trial: its old one, else a new folder with the next number."""
        number = self.numbers.setdefault(trial.number, self.next)
        self.next = max(self.next, number + 1)
        folder, overrides = self.folder(number), (*self.fixed, *trial.overrides)
        if is_frozen(folder):
            return Asked(self.job(number, trial, gpus=self.places.accept(read_config(folder))), unseen(folder))
        try:
            config = self.composer.make(overrides, folder=folder, pruning=self.pruning(trial))
            gpus = self.places.accept(config)
        except Exception as error:
            reason = say(error, config_name="train") or f"{type(error).__name__}: {error}"
            refuse(folder, reason)
            return Asked(self.job(number, trial), Ending(state=FAILED, exit_code=UserError.exit_code, reason=reason))
        freeze(config, folder, overrides=overrides)
        return Asked(self.job(number, trial, gpus=gpus))

    def tell(self, job: Job, ending: Ending) -> Told:
        """A stopped job stays a running trial of the study. A finished one that measured no number has failed."""
        if ending.stopped:
            return Told(ending, None)
        found = Measured(None)
        if ending.state == FINISHED:
            found = measure(read_json(job.folder / "result.json"), self.search.objectives)
            if found.values is None:
                ending = Ending(state=FAILED, exit_code=1, reason=f"nothing to compare: {found.reason}")
        assert job.trial is not None
        self.search.tell(job.trial, found.values, ending.state)
        return Told(ending, found.values)

    def pruning(self, trial: Trial) -> dict[str, Any] | None:
        """callbacks.pruning of a job; None where every trial is trained to its end."""
        if not self.search.pruner:
            return None
        return {
            "_target_": "src.callbacks.pruning.Pruning",
            "folder": "${paths.run_dir}",
            **self.search.pruning(trial.number),
        }

    def job(self, number: int, trial: Trial, *, gpus: int = 0) -> Job:
        """Of a trial."""
        folder = self.folder(number)
        return Job(number=number, folder=folder, overrides=trial.overrides, trial=trial.number, gpus=gpus)

    def folder(self, number: int) -> Path:
        """Of a job."""
        return self.composer.folder / str(number)
