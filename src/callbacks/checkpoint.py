"""Saves after every validation, keeps the best and the newest, and refuses to call a NaN the best."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning
from lightning.pytorch.trainer.states import TrainerFn

from src.errors import Diverged, UserError
from src.run.checkpoint import VerifiedCheckpointIO
from src.run.manifest import STATE_NAME, step_folder


class Checkpoint(lightning.Callback):
    """Writes `checkpoints/step-00001234/state.ckpt` through `io`, the plugin the trainer must be given as well.

    Args:
        folder: the run folder.
        monitor, mode: the metric that makes a checkpoint the best, and whether less or more of it is better.
        keep: newest checkpoints kept beside the best one.
    """

    def __init__(
        self, *, folder: str, monitor: str, mode: Literal["min", "max"] = "min", keep: Annotated[int, ">= 2"] = 2
    ) -> None:
        self.folder = Path(folder) / "checkpoints"
        self.monitor = monitor
        self.io = VerifiedCheckpointIO(monitor=monitor, mode=mode, keep_last=keep)
        self.saved_step = -1

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        scores = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if self.monitor not in scores:
            known = ", ".join(sorted(scores)) or "none"
            raise UserError(f"monitor ({self.monitor}) is not among the metrics of a validation: {known}.")
        if not math.isfinite(scores[self.monitor]):
            raise Diverged(
                f"Training diverged: {self.monitor} is {scores[self.monitor]} at step {trainer.global_step}."
            )
        self._save(trainer, scores)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # Training may end between two validations (max_steps), or have none.
        if not trainer.fast_dev_run and self.saved_step != trainer.global_step:  # type: ignore[attr-defined]
            self._save(trainer, {})

    def _save(self, trainer: lightning.Trainer, scores: dict[str, Any]) -> None:
        path = step_folder(self.folder, trainer.global_step) / STATE_NAME
        trainer.save_checkpoint(path, weights_only=False, storage_options={"scores": scores})
        self.saved_step = trainer.global_step
