"""One sweep from its command line to its results: what grid and search have in common."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from omegaconf import DictConfig, OmegaConf

from src.errors import UserError
from src.launch.sweeping.arguments import Typed
from src.launch.sweeping.continuing import open_sweep
from src.launch.sweeping.loop import Loop
from src.launch.sweeping.places import Places
from src.launch.sweeping.sources import Source
from src.run.signals import listen
from src.sweep.journal import SWEEP, write_sweep
from src.sweep.lock import driving


class Plan(Protocol):
    """A kind of sweep, in its folder."""

    folder: Path

    @property
    def size(self) -> int | None:
        """How many jobs are known before any has ended; None where each follows from others."""
        ...

    def facts(self) -> dict[str, Any]:
        """What sweep.json says."""
        ...

    def check(self, *, continued: bool) -> None:
        """Refuse what can be refused before anything is written."""
        ...

    def show(self) -> None:
        """Print what would be started."""
        ...

    def open(self) -> None:
        """Take what the jobs follow from, now that the folder is this driver's."""
        ...

    def source(self) -> Source:
        """The jobs, now that sweep.json is there."""
        ...


def drive(plan: Plan, typed: Typed, config: DictConfig, places: Places, *, max_failures: int | None) -> None:
    """Start the sweep, or go on with it. config: composed by Hydra for the sweep as a whole.

    Raises:
        UserError: the command is refused; nothing has been written then.
        RankFailed: jobs have failed.
        Terminated, Interrupted: the driver was asked to end.
    """
    check_hydra(OmegaConf.to_container(config.hydra, resolve=False))
    with listen() as signals, ExitStack() as held:
        sweep, facts = plan.folder, plan.facts()
        continued = open_sweep(sweep, facts, resume=typed.resume)
        if continued and not typed.dry_run:
            held.enter_context(driving(sweep))  # before its record is read
        plan.check(continued=continued)
        pool = places.pool(size=plan.size)
        if typed.dry_run:
            plan.show()
            return
        if not continued:
            held.enter_context(driving(sweep))
            if (sweep / SWEEP).exists():
                raise UserError(f"Another driver has just started a sweep in {sweep}. Choose another folder.")
        plan.open()  # before sweep.json: a sweep that is refused here is none to continue
        if not continued:
            write_sweep(sweep, facts)
        print(f"sweep       {sweep}", flush=True)
        source = plan.source()
        objectives = list(facts["objectives"])
        Loop(sweep, source, pool, signals=signals, objectives=objectives, max_failures=max_failures).run()


def check_hydra(hydra: Any) -> None:
    """Refuse settings that Hydra's own launchers obey and that would be ignored here.

    Raises:
        UserError: naming the setting.
    """
    for key, value, usual in (
        ("run.dir", [word for word in hydra["overrides"]["hydra"] if word.startswith("hydra.run.")], []),
        ("sweep.subdir", hydra["sweep"]["subdir"], "${hydra.job.num}"),
        ("job.env_set", hydra["job"]["env_set"], {}),
        ("job.env_copy", hydra["job"]["env_copy"], []),
        ("job.chdir", hydra["job"]["chdir"], False),
        ("callbacks", hydra["callbacks"], {}),
    ):
        if value != usual:
            raise UserError(
                f"hydra.{key} ({value}) has no effect on the jobs of a sweep: each is a process of its own in "
                "<sweep>/<number>, and takes the environment of this one. Leave it out."
            )
