"""A search: Optuna draws each job from what the others have found."""

import sys
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from src.check.rules_monitor import better
from src.launch.sweeping.arguments import Typed, names_of
from src.launch.sweeping.composing import Composer
from src.launch.sweeping.continuing import axes_without_secrets, without_secrets
from src.launch.sweeping.gridding import GOALS
from src.launch.sweeping.places import Places
from src.launch.sweeping.sources import Source
from src.launch.sweeping.trials import SearchSource
from src.run.status import now
from src.sweep.axes import Choice
from src.sweep.journal import SWEEP, read_jobs, read_sweep
from src.sweep.objective import check_objectives
from src.sweep.space import read_space
from src.sweep.storage import import_optuna, place_of
from src.sweep.study import Search as Study


@dataclass(frozen=True, kw_only=True)
class Settings:
    """hydra/sweeper=optuna, see conf/hydra/sweeper/optuna.yaml."""

    space: dict[str, Any]
    objectives: dict[str, Any]
    n_trials: int
    sampler: dict[str, Any]
    pruner: dict[str, Any]
    seed: int
    storage: str | None
    retry_failed: bool


class Search:
    """See src/launch/sweeping/driver.py."""

    def __init__(self, typed: Typed, composer: Composer, places: Places, settings: Settings) -> None:
        self.typed, self.composer, self.places, self.settings = typed, composer, places, settings
        self.folder, self.size = composer.folder, None
        self.space = read_space(join(settings.space, typed))
        self.objectives = settings.objectives or self.monitored()
        self.place = place_of(self.folder, settings.storage)
        if (self.folder / SWEEP).exists():  # a folder that was moved keeps the name of its study
            self.place["name"] = (read_sweep(self.folder).get("study") or self.place)["name"]

    def monitored(self) -> dict[str, str]:
        """What decides which epoch of a run is its best one decides which run is, unless something else was named."""
        composed = self.composer.compose(self.typed.fixed)
        return {composed.monitor: GOALS[composed.monitor_mode]}

    def facts(self) -> dict[str, Any]:
        """What is searched, and how."""
        return {
            "kind": "search",
            "command": without_secrets(sys.argv[1:]),
            "overrides": without_secrets(self.typed.fixed),
            "axes": axes_without_secrets(self.space),
            "objectives": self.objectives,
            "sampler": self.settings.sampler,
            "pruner": self.settings.pruner or None,
            "seed": self.settings.seed,
            "jobs": self.settings.n_trials,
            "study": self.place,
            "created": now(),
        }

    def check(self, *, continued: bool) -> None:
        """Refuse what would fail every job: the shared settings, and keys of the space that are none.

        Raises:
            UserError, or what Hydra raises for a wrong override.
        """
        import_optuna()
        one = [f"{key}={axis.values[0] if isinstance(axis, Choice) else axis.low}" for key, axis in self.space.items()]
        self.composer.compose([*self.typed.fixed, *one])
        config = self.composer.make(self.typed.fixed, folder=self.folder / "0")
        self.places.accept(config)
        check_objectives(self.objectives, known=better(config))
        self.continued = continued
        self.study = Study(
            space=self.space,
            objectives=self.objectives,
            sampler=self.settings.sampler,
            pruner=self.settings.pruner,
            n_trials=self.settings.n_trials,
            seed=self.settings.seed,
            sweep=self.folder,
            place=self.place,
        )

    def show(self) -> None:
        """What would be searched; which points follows from the jobs."""
        for key, axis in self.space.items():
            print(f"{key}: {axis}")
        goals = ", ".join(f"{goal} {name}" for name, goal in self.objectives.items())
        print(f"{self.settings.n_trials} jobs would {goals}; nothing was written.", flush=True)

    def open(self) -> None:
        """Takes the study."""
        known = [record.trial for record in read_jobs(self.folder).values() if record.trial is not None]
        self.study.open(continued=self.continued, known=known, retry_failed=self.settings.retry_failed)

    def source(self) -> Source:
        """Takes up the trials that a driver before this one has left."""
        records = read_jobs(self.folder)
        return SearchSource(self.study, self.composer, self.places, fixed=self.typed.fixed, records=records)


def join(space: dict[str, Any], typed: Typed) -> dict[str, Any]:
    """The space with the typed axes; a key that was typed with one value is no axis."""
    parser = OverridesParser.create()
    fixed = {parser.parse_override(word).key_or_group for word in typed.fixed}
    replaced = fixed | (names_of(typed.axes) - set(typed.axes))  # `++key=...` is another word for the same axis
    return {**{key: axis for key, axis in space.items() if key not in replaced}, **typed.axes}
