"""Random numbers of a step that depend on nothing but the seed, the step and the rank."""

from typing import Any

import lightning
import numpy as np
import torch

from src.data.loading import readers_of


def step_seed(*, seed: int, epoch: int, batch: int, rank: int = 0) -> int:
    """A 64-bit seed, well mixed, of the run's seed, the position in it and the rank."""
    place = (seed, epoch, batch, rank) if rank else (seed, epoch, batch)
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0])


class StepSeed(lightning.Callback):
    """Seeds torch before every training batch from (seed, epoch, batch, rank).

    Dropout then repeats wherever a run is resumed, whatever validation, logging or another callback drew in between;
    and ranks that read different rows drop different units.
    """

    def __init__(self, *, seed: int) -> None:
        self.seed = seed
        self.rank = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.rank = readers_of(trainer).rank

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        seed = step_seed(seed=self.seed, epoch=trainer.current_epoch, batch=batch_idx, rank=self.rank)
        # For GPUs that are not in use yet torch.manual_seed takes down the whole stack as text: half a millisecond.
        seed_all = torch.default_generator.manual_seed if pl_module.device.type == "cpu" else torch.manual_seed
        seed_all(seed)
