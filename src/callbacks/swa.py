"""The mean of the weights of the last part of training; see src/callbacks/averaging.py for what becomes of it."""

import math
from typing import Annotated, Any, Literal

import lightning

from src.callbacks.averaging import Averaging


class StochasticWeightAverage(Averaging):
    """The mean of the weights of the last part of training (Izmailov et al. 2018, arXiv:1803.05407, algorithm 1).

    Until it has begun, the weights that train are measured. Once it has, it goes on, in a run that is made longer too.

    Args:
        start: a whole number counts epochs, 0.75 is that share of all optimizer steps.
        every: take the weights at the end of each epoch, as in the paper with a constant rate, or after each step.
        lr: the learning rate from the start on, in place of the schedule's; None leaves it to the schedule.
    """

    def __init__(
        self,
        *,
        start: Annotated[int, ">= 0"] | Annotated[float, ">= 0, < 1"] = 0.75,
        every: Literal["epoch", "step"] = "epoch",
        lr: Annotated[float | None, "> 0"] = None,
    ) -> None:
        super().__init__()
        self.start, self.every, self.lr = start, every, lr
        self.first = 0  # optimizer steps before the start

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        if isinstance(self.start, int):
            self.first = self.start * per_epoch
        else:
            self.first = round(self.start * trainer.estimated_stepping_batches)
        self._hold_rate(trainer)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._hold_rate(trainer)

    def share(self, trainer: lightning.Trainer, *, epoch_ends: bool) -> float | None:
        begun = self.updates > 0 or self.step > self.first
        return 1 / (self.updates + 1) if begun and (epoch_ends or self.every == "step") else None

    def _hold_rate(self, trainer: lightning.Trainer) -> None:
        """Make a constant of the schedule, once the start has come; a group keeps the share of its depth."""
        if self.lr is None or (self.updates == 0 and self.step < self.first):
            return
        for entry in trainer.lr_scheduler_configs:
            schedule: Any = entry.scheduler
            groups = schedule.optimizer.param_groups
            schedule.base_lrs = [self.lr * group.get("lr_scale", 1.0) for group in groups]
            schedule.lr_lambdas = [constant] * len(groups)
            for group, rate in zip(groups, schedule.base_lrs, strict=True):
                group["lr"] = rate


def constant(step: int) -> float:
    """The multiplier of a rate that stays."""
    return 1.0
