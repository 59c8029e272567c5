"""What the trials of a search report while they train; each job writes its own and reads all."""

from collections.abc import Sequence
from pathlib import Path

from src.errors import UserError
from src.sweep.pruner import Curve
from src.sweep.storage import find_study


class Reports:
    """The reports of one trial. sweep: the folder of the search; storage, study: see storage.place_of.

    Raises:
        UserError: the study is not there, or does not wait for this trial.
    """

    def __init__(self, sweep: Path, *, storage: str | None, study: str, trial: int) -> None:
        self.storage, self.study = find_study(sweep, storage=storage, name=study)
        trials = self.storage.get_all_trials(self.study, deepcopy=False)
        if trial >= len(trials) or trials[trial].state.is_finished():
            raise UserError(
                f"callbacks.pruning.trial ({trial}) of the search in {sweep} is not under way; train it without its "
                "pruner, with callbacks=default."
            )
        self.number, self.id = trial, self.storage.get_trial_id_from_study_id_trial_number(self.study, trial)

    def write(self, values: Sequence[float]) -> None:
        """All values so far, after validation 1, 2, ...; those that stand there already are not written again."""
        there = self.storage.get_trial(self.id).intermediate_values
        for step, value in enumerate(values, 1):
            if there.get(step) != value:
                self.storage.set_trial_intermediate_value(self.id, step, value)

    def others(self) -> list[Curve]:
        """Those of the other trials."""
        trials = [t for t in self.storage.get_all_trials(self.study, deepcopy=False) if t.number != self.number]
        return [Curve(values=trial.intermediate_values, finished=trial.state.name == "COMPLETE") for trial in trials]
