"""Random numbers of a step that depend on nothing but the seed and the step."""

from typing import Any

import lightning
import numpy as np
import torch


def step_seed(*, seed: int, epoch: int, batch: int) -> int:
    """A 64-bit seed, well mixed, of the run's seed and the position in it."""
    return int(np.random.SeedSequence((seed, epoch, batch)).generate_state(1, np.uint64)[0])


class StepSeed(lightning.Callback):
    """Seeds torch before every training batch from (seed, epoch, batch).

    Dropout then repeats wherever a run is resumed, whatever validation, logging or another callback drew in between.
    """

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        torch.manual_seed(step_seed(seed=self.seed, epoch=trainer.current_epoch, batch=batch_idx))
