"""What stock Hydra and Lightning make of a sweep of jobs of two processes: the command line is run again, -m and all.

A search with a sampler that nobody gave a seed, Hydra's own launcher, Lightning's own launcher of processes. Imports
are forked (see tests/forked.py); sweeper, launchers, environment variables and gloo are theirs.
"""

import json
import os
import random
import secrets
import sys
from pathlib import Path
from typing import Any

import hydra
import lightning
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from lightning.pytorch.strategies.launchers import subprocess_script
from omegaconf import DictConfig, OmegaConf

from tests.forked import Forked

MULTIRUN, SWEEPER = "--multirun", "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


class Line(lightning.LightningModule):
    """One weight, which moves with the learning rate of both ranks."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.layer, self.lr = torch.nn.Linear(1, 1), lr

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def main(folder: Path) -> Forked:
    """`python naive.py --multirun`, which notes in `folder` what each process of its job believes to be."""

    def first() -> int:
        sweeper: Any = Plugins.instance().class_name_to_class[SWEEPER]
        sweep = sweeper.sweep
        sweeper.sweep = lambda self, arguments: sweep(self, [*arguments, f"lr={random.SystemRandom().uniform(0, 1)}"])
        return command([MULTIRUN, f"hydra.sweep.dir={folder}/${{id:}}"])

    return Forked(first, dict(os.environ))


def command(arguments: list[str]) -> int:
    """The process of such a command line."""
    sys.argv = ["naive.py", *arguments]
    OmegaConf.register_new_resolver("id", lambda: secrets.token_hex(4), use_cache=True, replace=True)
    ConfigStore.instance().store("naive", {"lr": 0.0})
    GlobalHydra.instance().clear()  # a new process has none
    again: Any = lambda words, env, cwd: Forked(lambda: command(words[words.index(MULTIRUN) :]), env)  # noqa: E731
    subprocess_script.subprocess.Popen = again  # type: ignore[misc]
    hydra.main(version_base="1.3", config_path=None, config_name="naive")(train)()
    return 0


def train(config: DictConfig) -> None:
    """One step in two processes, and a note of what this one trained with and where."""
    quiet: Any = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_steps=1, **quiet)
    trainer.fit(Line(config.lr), torch.utils.data.DataLoader(torch.ones(4, 1)))
    folder = Path(HydraConfig.get().runtime.output_dir)
    note = {"ranks": trainer.world_size, "lr": config.lr, "steps": trainer.global_step}
    (folder.parents[1] / f"rank-{trainer.global_rank}.json").write_text(json.dumps({**note, "folder": str(folder)}))
