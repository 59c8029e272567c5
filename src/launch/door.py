"""How every door opens and shuts: one sentence for the user's mistakes, an exit code that tells the truth."""

import errno
import functools
import os
import sys
from collections.abc import Callable
from traceback import extract_tb
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src.errors import Diverged, Pruned, RankFailed, UserError
from src.launch.compose import CONFIG_FOLDER, register_resolvers
from src.launch.explain import explain
from src.launch.terminal import outlive_readers
from src.run.signals import listen
from src.run.status import exit_code, is_out_of_memory, killed_by


class Failed(BaseException):
    """Carries a job's exception past Hydra, which would print the overrides in front of our sentence."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


def job(function: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Decorates what `hydra.main` calls. In a sweep exceptions stay Hydra's, so that the other jobs run."""

    @functools.wraps(function)
    def run(config: DictConfig) -> Any:
        try:
            with listen():
                return function(config)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            raise Failed(error) from error

    return run


def open_door(main: Callable[[], object], *, config_name: str, only_prints: bool = False) -> NoReturn:
    """Run a Hydra main function and exit: 0 done, 2 user error, 3 diverged, 4 no memory, 130/143 signals, 1 a bug.

    only_prints: nothing is left to be done when nobody reads the answers any more.
    """
    outlive_readers(ends=only_prints)
    # Hydra then raises what it would otherwise print and turn into exit code 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    register_resolvers()
    try:
        refuse_hydra_targets(sys.argv[1:])
        main()
    except Failed as failed:
        close(failed.cause, config_name=config_name)
    except BaseException as error:
        close(unmade_folder(error) or error, config_name=config_name)
    sys.stdout.flush()  # at its own end Python would take a reader who has left for an error
    sys.exit(0)


def unmade_folder(error: BaseException) -> UserError | None:
    """What Hydra says when it cannot make the folder of a run, which it does before our part begins."""
    if not isinstance(error, OSError) or is_full(error) or extract_tb(error.__traceback__)[-1].name != "mkdir":
        return None
    return UserError(
        f"{error.filename} cannot be made a folder: {error.strerror}. hydra.run.dir (hydra.sweep.dir of a sweep), or "
        "paths.output_dir above it, must name one that can; choose another."
    )


def refuse_hydra_targets(arguments: list[str]) -> None:
    """Hydra builds its own parts before any check of ours could see them.

    Raises:
        UserError: an argument names a class for Hydra to build.
    """
    for argument in arguments:
        key = argument.lstrip("+~").partition("=")[0]
        if key.startswith(("hydra.", "hydra/")) and "_target_" in argument:
            raise UserError(
                f"{argument} is not taken from the command line; choose a file, as in hydra/launcher=slurm."
            )


def close(error: BaseException, *, config_name: str) -> NoReturn:
    """Exit with the sentence and code of `error`; a bug of ours is raised again and keeps its traceback."""
    sentence = say(error, config_name=config_name)
    if sentence is None:
        raise error
    print(sentence, file=sys.stderr, flush=True)
    code = exit_code(error)
    # What `explain` knows was typed by the user.
    sys.exit(UserError.exit_code if code == 1 and not isinstance(error, RankFailed) and not is_full(error) else code)


def is_full(error: BaseException) -> bool:
    """True where a file could not grow: the disk is full, or a quota or a limit is reached."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def say(error: BaseException, *, config_name: str) -> str | None:
    """One or two sentences for an expected end, None for a bug."""
    signal = killed_by(error)
    if signal is not None:
        return f"Stopped by {signal.name}."
    if isinstance(error, UserError | Diverged | RankFailed | Pruned):
        return str(error)
    if is_out_of_memory(error):
        return f"Out of memory: {error}. Lower data.batch_size and keep the batch with accumulation=batches."
    if is_full(error):
        return f"{error}. Make room; hydra.run.dir=<run folder> resume=auto goes on from the last checkpoint."
    if isinstance(error, Exception):
        return explain(error, arguments=sys.argv[1:], config_dir=CONFIG_FOLDER, config_name=config_name)
    return None
