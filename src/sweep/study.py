"""The search itself: asks for points, is told how they ended, and goes on where a killed driver left it."""

import math
from collections.abc import Collection, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from src.errors import UserError
from src.run.status import FINISHED, PRUNED
from src.sweep.axes import Axis, Real
from src.sweep.pruner import check_pruned, make_pruner
from src.sweep.sampler import Point, check_sampler, distribution, draw
from src.sweep.storage import import_optuna, open_storage

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# Times that a sampler may draw a point again that was tried before, and then evenly drawn ones.
DRAWS, EVEN_DRAWS = 10, 100
RETRY = "retry_of"  # note of a trial: the number of the failed one with the same parameters


class Trial(NamedTuple):
    """One job to be run. overrides: `key=value` in the order of the space."""

    number: int
    overrides: tuple[str, ...]


class Search:
    """One study. Made, it has checked what was typed and written nothing; `open` takes the study.

    space, objectives: as read_space and check_objectives have left them. sampler, pruner: their settings with a name,
    {} for no pruner. n_trials: points in all, failed and pruned ones included. place: see storage.place_of.
    """

    def __init__(
        self,
        *,
        space: Mapping[str, Axis],
        objectives: Mapping[str, str],
        sampler: Mapping[str, Any],
        pruner: Mapping[str, Any],
        n_trials: int,
        seed: int,
        sweep: Path,
        place: Mapping[str, Any],
    ) -> None:
        if seed < 0:
            raise UserError(f"hydra.sweeper.seed ({seed}) must be 0 or more.")
        check_sampler(sampler, space, list(objectives))
        if make_pruner(pruner) is not None:
            check_pruned(list(objectives))
        self.space, self.objectives, self.sampler, self.pruner = dict(space), dict(objectives), sampler, pruner
        self.n_trials, self.seed, self.sweep, self.place = n_trials, seed, sweep, place
        counts = [axis.count for axis in space.values()]
        self.size = None if None in counts else math.prod(filter(None, counts))
        self.over: str | None = None  # why there are fewer trials than asked for
        self.failed: list[FrozenTrial] = []  # to be tried again

    def open(self, *, continued: bool, known: Collection[int] = (), retry_failed: bool = False) -> None:
        """Take the study, which is made if it is not there. known: trials that the sweep has jobs of.

        Raises:
            UserError: there is no such storage, it has a study of this name with trials, or the study has lost some.
        """
        optuna = import_optuna()
        storage, name = open_storage(self.sweep, self.place["storage"], alone=True), self.place["name"]
        sampler = optuna.samplers.RandomSampler()  # never asked
        there = name in [study.study_name for study in storage.get_all_studies()]
        if there:
            self.study = optuna.load_study(storage=storage, study_name=name, sampler=sampler)
        else:
            directions = list(self.objectives.values())
            self.study = optuna.create_study(storage=storage, study_name=name, sampler=sampler, directions=directions)
        trials = self.trials()
        if trials and not continued:
            raise UserError(f"hydra.sweeper.storage holds a study {name} already. Choose another file or sweep folder.")
        if known and max(known) >= len(trials):
            raise UserError(
                f"The study has {len(trials)} trials, and the sweep in {self.sweep} has a job of trial {max(known)}. "
                "Put the study's file back, or start another sweep."
            )
        if retry_failed:
            retried = {trial.user_attrs.get(RETRY) for trial in trials}
            self.failed = [t for t in trials if t.state.name == "FAIL" and t.number not in retried]

    def ask(self) -> Trial | None:
        """The next trial, which the study then holds as running; None if there is no more, see `over`."""
        if self.failed:
            before = self.failed.pop(0)
            return self._begin(Point(before.params, before.system_attrs), {RETRY: before.number})
        trials = self.trials()
        if sum(RETRY not in trial.user_attrs for trial in trials) >= self.n_trials:
            return None
        point = self._draw_new(trials)
        if point is None:
            self.over = f"After {len(trials)} trials the space has no point left that was not tried; the search ends."
            return None
        return self._begin(point, {})

    def tell(self, number: int, values: Collection[float] | None, state: str) -> None:
        """A trial has ended in a state of src.run.status. One that has no finite values has failed.

        Told twice, the first time counts: a driver may be killed before it has written that down elsewhere.
        """
        state_of = import_optuna().trial.TrialState
        good = values is not None and len(values) == len(self.objectives) and all(map(math.isfinite, values))
        if state == FINISHED and good:
            self.study.tell(number, list(values or ()), skip_if_finished=True)
        else:
            ended = state_of.PRUNED if state == PRUNED else state_of.FAIL
            self.study.tell(number, state=ended, skip_if_finished=True)

    def running(self) -> list[Trial]:
        """Asked for and not told of: when a driver begins, what the one before it left behind."""
        return [self._trial(trial) for trial in self.trials() if trial.state.name == "RUNNING"]

    def pruning(self, number: int) -> dict[str, Any]:
        """What callbacks.pruning of a trial needs to know, beside the run folder."""
        (monitor, direction), *_ = self.objectives.items()
        mode = "max" if direction == "maximize" else "min"
        place = {"storage": self.place["storage"], "study": self.place["name"]}
        return {**place, "trial": number, "monitor": monitor, "mode": mode, "pruner": dict(self.pruner)}

    def trials(self) -> "list[FrozenTrial]":
        """All of the study, in the order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    def _begin(self, point: Point, notes: dict[str, Any]) -> Trial:
        # Written in one step: a driver that is killed leaves a whole trial or none.
        optuna = import_optuna()
        created = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=point.params,
            distributions={key: distribution(axis) for key, axis in self.space.items()},
            system_attrs=point.notes,
            user_attrs=notes,
        )
        self.study.add_trial(created)
        return self._trial(self.trials()[-1])

    def _trial(self, trial: "FrozenTrial") -> Trial:
        texts = {
            key: repr(trial.params[key]) if isinstance(a, Real) else trial.params[key] for key, a in self.space.items()
        }
        return Trial(trial.number, tuple(f"{key}={text}" for key, text in texts.items()))

    def _draw_new(self, trials: "list[FrozenTrial]") -> Point | None:
        """A point that no trial has; None if there is none."""
        seen = {self._key(trial.params) for trial in trials}
        if self.size is not None and len(seen) >= self.size:
            return None
        directions = list(self.objectives.values())
        for attempt in range(DRAWS + EVEN_DRAWS):
            known, settings = (trials, self.sampler) if attempt < DRAWS else ([], {"name": "random"})
            seed = (self.seed, len(trials), attempt)
            point = draw(known, self.space, directions=directions, settings=settings, seed=seed)
            if self._key(point.params) not in seen:
                return point
        values = [axis.values for axis in self.space.values() if not isinstance(axis, Real)]
        if self.size is None:
            return None
        return next(
            Point(dict(zip(self.space, point, strict=True)), {}) for point in product(*values) if point not in seen
        )

    def _key(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(params[key] for key in self.space)
