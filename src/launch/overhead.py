"""The two sides of `suite=overhead`, from one config of `src.train`: our launch, and Lightning's Trainer alone."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import lightning
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from src.benchmark.overhead import BARE, OURS, Contenders, Fit, Watch
from src.check.global_batch import count_devices
from src.errors import UserError
from src.launch.build import Data, Task, build_data, build_network, build_task, trainer_factory
from src.launch.compose import CONFIG_FOLDER
from src.launch.preflight import preflight
from src.launch.rank import Process
from src.launch.training import fit
from src.run.folder import RunFolder
from src.run.signals import listen

# What decides how much is computed; all else of the bare Trainer is switched off.
ARITHMETIC = "accelerator devices precision max_epochs max_steps gradient_clip_val gradient_clip_algorithm"
ARITHMETIC += " accumulate_grad_batches val_check_interval limit_train_batches limit_val_batches"


@contextmanager
def contenders(overrides: list[str]) -> Iterator[Contenders]:
    """Both sides on the same data, which is read once.

    Raises:
        UserError: as `src.train` with these overrides; or for more than one device.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        GlobalHydra.instance().clear()  # the benchmark's own; it has been composed
        with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
            config = preflight(compose("train", overrides=overrides), run_dir=str(run))
        if count_devices(config["trainer"]["devices"]) != 1:
            raise UserError("suite=overhead measures one process; leave trainer.devices at 1.")
        data = build_data(config)
        data.prepare_data()
        data.setup()
        yield {BARE: partial(fit_bare, config, data), OURS: partial(fit_ours, config, data, run)}


def make_task(config: dict[str, Any]) -> Task:
    """The same weights each time."""
    lightning.seed_everything(config["seed"], verbose=False)
    return build_task(config, build_network(config))


def fit_bare(config: dict[str, Any], data: Data) -> Fit:
    """The same task on the same batches, with no callback but the watch, no checkpoint and no logger."""
    watch, settings = Watch(), config["trainer"]
    trainer = lightning.Trainer(
        **{name: settings[name] for name in ARITHMETIC.split() if name in settings},
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer.fit(make_task(config), datamodule=data)
    return watch.read(trainer)


def fit_ours(config: dict[str, Any], data: Data, folder: Path) -> Fit:
    """Training as `src.train` does it, in a new run folder; what it prints goes into a file."""
    watch, run = Watch(), RunFolder.claim(folder)
    try:
        with (run.logs / "terminal.txt").open("w") as file, redirect_stdout(file), listen() as signals, signals.held():
            make_trainer = trainer_factory(config, Process(signals=signals, callbacks=(watch,)))
            trainer = fit(config, run, make_task(config), data, make_trainer)
        return watch.read(trainer)
    finally:
        run.release()
        shutil.rmtree(folder)
