"""Sweepers and launchers of `python -m src.train -m`: grid and Optuna, on this machine and on Slurm.

In this folder, because Hydra finds and builds them only in the namespace that it is named after. All of them are
thin: the work is in src/launch/sweeping.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from src.errors import UserError

if TYPE_CHECKING:
    from src.launch.sweeping.places import Places


class Place(Launcher):
    """What a launcher of ours is to Hydra. Jobs are not function calls here, so that `launch` is never asked."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        pass

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        raise UserError("hydra/launcher=local and slurm go with hydra/sweeper=grid and optuna only.")

    def places(self) -> "Places":
        """Where jobs run."""
        raise NotImplementedError


class Local(Place):
    """hydra/launcher=local. parallel: jobs at once."""

    def __init__(self, *, parallel: Annotated[int, ">= 1"]) -> None:
        self.parallel = parallel

    def places(self) -> "Places":
        from src.launch.sweeping.places import Machine

        return Machine(parallel=self.parallel)


class Slurm(Place):
    """hydra/launcher=slurm. parallel: jobs in the queue at once; poll_seconds: between two looks at it."""

    def __init__(self, *, parallel: Annotated[int, ">= 1"] | None, poll_seconds: Annotated[float, "> 0"]) -> None:
        self.parallel, self.poll_seconds = parallel, poll_seconds

    def places(self) -> "Places":
        from src.launch.sweeping.cluster import Cluster

        return Cluster(parallel=self.parallel, poll_seconds=self.poll_seconds)


class Driver(Sweeper):
    """What grid and search have in common."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.composed = hydra_context, config
        self.place = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def places(self) -> "Places":
        """Where the jobs run, once what was typed for sweeper and launcher is checked."""
        from src.check.config import check_part

        for name in ("launcher", "sweeper"):
            part: Any = OmegaConf.to_container(self.composed.hydra[name], resolve=True)
            check_part(part, key=f"hydra.{name}")
        if not isinstance(self.place, Place):
            chosen = self.composed.hydra.runtime.choices["hydra/launcher"]
            raise UserError(f"hydra/launcher ({chosen}) must be local or slurm, which start each job as a process.")
        return self.place.places()


class Grid(Driver):
    """hydra/sweeper=grid. max_failures: no new job after more than so many; retry_failed: start those again."""

    def __init__(self, *, max_failures: Annotated[int, ">= 0"] | None, retry_failed: bool) -> None:
        self.max_failures, self.retry_failed = max_failures, retry_failed

    def sweep(self, arguments: list[str]) -> None:
        from src.launch.sweeping.arguments import take_apart
        from src.launch.sweeping.composing import Composer
        from src.launch.sweeping.driver import drive
        from src.launch.sweeping.gridding import Grid as Plan

        places, typed = self.places(), take_apart(arguments)
        plan = Plan(typed, Composer(self.context, self.composed), places, retry_failed=self.retry_failed)
        drive(plan, typed, self.composed, places, max_failures=self.max_failures)


class Search(Driver):
    """hydra/sweeper=optuna; every setting stands in conf/hydra/sweeper/optuna.yaml."""

    def __init__(
        self,
        *,
        space: dict[str, Any],
        objectives: dict[str, str],
        n_trials: Annotated[int, ">= 1"],
        sampler: dict[str, Any],
        pruner: dict[str, Any],
        seed: Annotated[int, ">= 0"],
        storage: str | None,
        max_failures: Annotated[int, ">= 0"] | None,
        retry_failed: bool,
    ) -> None:
        self.max_failures = max_failures

    def sweep(self, arguments: list[str]) -> None:
        from src.launch.sweeping.arguments import take_apart
        from src.launch.sweeping.composing import Composer
        from src.launch.sweeping.driver import drive
        from src.launch.sweeping.searching import Search as Plan
        from src.launch.sweeping.searching import Settings

        places, typed = self.places(), take_apart(arguments)
        typed_here: Any = OmegaConf.to_container(self.composed.hydra.sweeper, resolve=True)
        given = {name: value for name, value in typed_here.items() if name not in ("_target_", "max_failures")}
        plan = Plan(typed, Composer(self.context, self.composed), places, Settings(**given))
        drive(plan, typed, self.composed, places, max_failures=self.max_failures)
