"""Refuses what has no effect: launchers that are not ours in a sweep, words of a sweep in a single run."""

from collections.abc import Sequence
from typing import Any

from hydra.conf import HydraConf

from src.errors import UserError
from src.launch.compose import CONFIG_FOLDER
from src.launch.neighbours import choices_of


def check_choices(arguments: Sequence[str]) -> None:
    """Refuse Hydra's and other people's launchers before one makes a folder: they run jobs inside one process.

    Raises:
        UserError: naming the choices.
    """
    for argument in arguments:
        group, _, choice = argument.partition("=")
        if group in ("hydra/sweeper", "hydra/launcher"):
            legal = choices_of(group, CONFIG_FOLDER)
            if choice not in legal:
                raise UserError(
                    f"{argument} is not a choice here, where each job of a sweep is a process of its own; use "
                    f"{' or '.join(f'{group}={name}' for name in legal)}."
                )


def check_single(hydra: HydraConf, config: dict[str, Any]) -> None:
    """Refuse in a run of its own what only a sweep has, or a batch job.

    Raises:
        UserError: a search, or a dry run of nothing.
    """
    if "n_trials" in hydra.sweeper:
        raise UserError("hparams_search (or hydra/sweeper=optuna) needs -m: a search is a sweep.")
    if config["dry_run"] and not config["launcher"]:
        raise UserError(
            "dry_run (true) lists the jobs of a sweep, with -m, or writes what launcher=sbatch would submit; "
            "python -m src.check says what one run would do here."
        )
