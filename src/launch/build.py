"""Instantiates the parts that a checked config names; from here on there is no config, only parts."""

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.callbacks import RichProgressBar
from torch import nn

from src.callbacks.branching import Branching
from src.callbacks.checkpoint import Checkpoint
from src.callbacks.continuation import Continuation
from src.callbacks.interruption import Interruption
from src.callbacks.step_seed import StepSeed
from src.data.module import Reviews
from src.data.texts import Texts
from src.data.word_blocks import WordBlocks
from src.errors import UserError
from src.launch.differences import what_ends
from src.launch.rank import Process, started_by_srun
from src.run.origin import read_origin
from src.task.classifier import Classifier
from src.task.language_model import LanguageModel
from src.task.recurrent_language_model import BidirectionalLanguageModel

Data = Reviews | Texts | WordBlocks
Task = Classifier | LanguageModel | BidirectionalLanguageModel


def construct(config: dict[str, Any], key: str, **parts: Any) -> Any:
    """The object that section `key` names, `parts` given beside its own settings.

    Raises:
        UserError: the constructor refused a value or lacks a package; its own words, with the section named.
    """
    try:
        made = instantiate(config[key], _convert_="all", _partial_=True)
        return made if config[key].get("_partial_") else made(**parts)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
    except ValueError as error:
        raise UserError(f"{key}: {error}") from error
    except ModuleNotFoundError as error:
        raise UserError(
            f"{key} needs a package that is not installed: {error}. Install the extra of that name."
        ) from error


def build_network(config: dict[str, Any]) -> nn.Module:
    return construct(config, "model")


def count_parameters(network: nn.Module) -> int:
    """Weights that training may change; a matrix that two layers share counts once."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def build_data(config: dict[str, Any]) -> Data:
    return construct(config, "data")


def build_task(config: dict[str, Any], network: nn.Module) -> Task:
    optimizer, schedule = construct(config, "optimizer"), construct(config, "schedule")
    return construct(config, "task", network=network, optimizer=optimizer, schedule=schedule)


def build_named(config: dict[str, Any], section: str) -> list[Any]:
    """Every entry of callbacks or logger; an entry set to null on purpose is left out."""
    entries = config[section]
    return [construct(entries, name) for name, entry in entries.items() if entry is not None]


def build_callbacks(config: dict[str, Any]) -> list[lightning.Callback]:
    """The configured callbacks behind those of every run: seeds per step, its place in a checkpoint, its origin."""
    own: list[lightning.Callback] = [StepSeed(seed=config["seed"]), Continuation(ends=what_ends(config))]
    if (origin := read_origin(Path(config["paths"]["run_dir"]))).get("changes"):
        own.append(Branching(step=origin["step"], changes=origin["changes"]))
    return [*own, *build_named(config, "callbacks")]


def trainer_factory(config: dict[str, Any], process: Process | None = None) -> Callable[..., lightning.Trainer]:
    """`make(callbacks=[...], logger=...)`: the configured trainer, with a progress bar only on a terminal.

    With a `process`, whoever makes trainers listens to signals, and every trainer ends when asked to.
    """
    settings = dict(config["trainer"], _partial_=True)
    settings["enable_progress_bar"] = settings.get("enable_progress_bar", True) and sys.stdout.isatty()

    def make_trainer(*, callbacks: list[lightning.Callback], logger: Any) -> lightning.Trainer:
        make = construct({"trainer": settings}, "trainer")  # each time: a strategy serves one trainer
        plugins: list[Any] = [callback.io for callback in callbacks if isinstance(callback, Checkpoint)]
        plugins.append(cluster_environment(process))
        if settings["enable_progress_bar"]:
            callbacks = [*callbacks, RichProgressBar()]
        if process is None:
            return make(callbacks=callbacks, logger=logger, plugins=plugins)
        callbacks = [*callbacks, *process.callbacks, Interruption(process.signals)]
        return leave_signals(make(callbacks=callbacks, logger=logger, plugins=plugins))

    return make_trainer


def cluster_environment(process: Process | None) -> ClusterEnvironment:
    """Where Lightning reads the ranks: from what started this process as one of them, if that is what it is.

    Left to itself it takes the variables of any shell on a cluster for its own.
    """
    if process is None or not process.worker:
        return LightningEnvironment()
    if started_by_srun():
        return SLURMEnvironment(auto_requeue=False)  # job.sbatch does that, once all ranks have ended
    return TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()


def leave_signals(trainer: lightning.Trainer) -> lightning.Trainer:
    """Keep Lightning from handling SIGTERM itself, for which it has no setting; returns the same trainer.

    Its handler broadcasts from inside the signal, so that it meets whatever collective the process was in: of ten
    signals to one of two ranks, six hung. And each batch broadcasts whether it came, which makes a GPU wait for the
    host; src/callbacks/interruption.py does both without.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    return trainer


def quiet() -> None:
    """Show warnings of the rooms as plain lines; drop the hints of Lightning that do not apply here, and only those."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r".*does not have many workers.*",  # batches are cut from memory: 0.1 ms each, workers would only cost
        r".*Experiment logs directory .* exists and is not empty.*",  # the logger writes into the run folder
        r".*The number of training batches .* is smaller than the logging interval.*",
        r".*It is recommended to use `self.log\(.*sync_dist=True\)`.*",  # what our tasks log is the same on all ranks
        r".*isinstance\(treespec, LeafSpec\)` is deprecated.*",  # Lightning's own use of torch
        r".*The `srun` command is available on your system but is not used.*",  # local runs start their own processes
    ):
        warnings.filterwarnings("ignore", message=message)
