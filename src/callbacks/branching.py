"""Gives a branch its own optimizer settings and schedule, where the checkpoint of its origin has brought the others."""

from typing import Any

import lightning
from lightning.pytorch.trainer.states import TrainerFn
from torch.optim.lr_scheduler import LambdaLR


class Branching(lightning.Callback):
    """Acts when the checkpoint of the branching point is loaded, and not on those that the branch has written itself.

    Moments and step counts stay those of the origin. A schedule that is a function of the step goes on at its place,
    on the new curve. One that looks at a metric goes on as it was, or begins anew at the new rate where that or the
    schedule has changed.

    step: of the branching point. changes: the dotted keys in which the config differs from the origin's.
    """

    def __init__(self, *, step: int, changes: list[str]) -> None:
        self.step = step
        self.anew = any(key == "optimizer.lr" or key.startswith("schedule.") for key in changes)
        self.active = False
        self.groups: list[list[dict[str, Any]]] = []  # settings of the optimizers' groups, as this run builds them

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.active = trainer.state.fn == TrainerFn.FITTING and checkpoint["global_step"] == self.step
        if self.active and self.anew:
            checkpoint["lr_schedulers"] = []  # what another kind of schedule has kept would fit no longer

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Before the optimizer's state is loaded."""
        self.groups = [
            [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
            for optimizer in trainer.optimizers
        ]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not self.active:
            return
        for optimizer, own in zip(trainer.optimizers, self.groups, strict=True):
            for group, settings in zip(optimizer.param_groups, own, strict=True):
                group.update({**settings, "lr": settings["lr"] if self.anew else group["lr"]})
        for entry in trainer.lr_scheduler_configs:
            if isinstance(entry.scheduler, LambdaLR):
                go_to(entry.scheduler, step=self.step)


def go_to(schedule: LambdaLR, *, step: int) -> None:
    """Set a schedule and its optimizer's rates as they are after `step` steps."""
    groups = schedule.optimizer.param_groups
    schedule.base_lrs = [group["initial_lr"] for group in groups]
    schedule.last_epoch, schedule._step_count = step, step + 1
    pairs = zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
    schedule._last_lr = [base * multiplier(step) for base, multiplier in pairs]
    for group, rate in zip(groups, schedule._last_lr, strict=True):
        group["lr"] = rate
