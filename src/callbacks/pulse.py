"""Marks how far a rank is, so that of several ranks that wait the one they wait for can be named."""

from typing import Any

import lightning

from src.run.heartbeat import Heartbeat


class Pulse(lightning.Callback):
    """One mark at each place of a step that a collective may separate from the next."""

    def __init__(self, heart: Heartbeat) -> None:
        self.heart = heart

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self.heart.mark(f"the setup of {stage}")

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.heart.mark(f"batch {batch_idx} of epoch {trainer.current_epoch}")

    def on_before_backward(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, loss: Any) -> None:
        self.heart.mark(f"the backward of step {trainer.global_step}")

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: Any
    ) -> None:
        self.heart.mark(f"the update of step {trainer.global_step}")

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.heart.mark(f"the end of batch {batch_idx} of epoch {trainer.current_epoch}")

    def on_validation_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.heart.mark(f"evaluation batch {batch_idx}")

    on_test_batch_start = on_validation_batch_start
