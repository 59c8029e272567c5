"""Decides when to save, keeps the best and the newest, and refuses to call a NaN the best."""

import math
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning
from lightning.pytorch.trainer.states import TrainerFn

from src.callbacks.position import here, inside_window
from src.errors import Diverged, UserError
from src.logger.csv import MetricsFile
from src.run.checkpoint import VerifiedCheckpointIO
from src.run.manifest import STATE_NAME, committed, step_folder
from src.run.retention import point_names, prune


class Checkpoint(lightning.Callback):
    """Writes `checkpoints/step-00001234/state.ckpt` through `io`, the plugin the trainer must be given as well.

    After a validation, every so many steps or minutes, and at the end. A checkpoint is taken before a batch that opens
    an accumulation window: whatever the step before it caused is done by then, and no gradient is under way. Where a
    validation comes inside a window, its scores are saved at once, with the weights that were measured and the place
    where the window opened; a resumed run repeats the window.

    Args:
        folder: the run folder.
        monitor, mode: the metric that makes a checkpoint the best, and whether less or more of it is better.
        keep: newest checkpoints kept beside the best one.
        every_steps, every_minutes: how often to save between validations.
        asynchronous: write while training goes on.
    """

    def __init__(
        self,
        *,
        folder: str,
        monitor: str,
        mode: Literal["min", "max"] = "min",
        keep: Annotated[int, ">= 2"] = 2,
        every_steps: Annotated[int | None, ">= 1"] = None,
        every_minutes: Annotated[float | None, "> 0"] = None,
        asynchronous: bool = False,
    ) -> None:
        self.folder = Path(folder) / "checkpoints"
        self.monitor = monitor
        self.io = VerifiedCheckpointIO(monitor=monitor, mode=mode, keep_last=keep, asynchronous=asynchronous)
        self.every_steps, self.every_minutes = every_steps, every_minutes
        self.scores: dict[str, float] = {}  # of the last validation, which measured the weights of `scored_step`
        self.scored_step = self.saved_step = -1
        self.due = False
        self.saved_at = time.monotonic()

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Finish what the last save of a killed process left undone: names, and what was to be removed."""
        if stage == TrainerFn.FITTING and trainer.is_global_zero and committed(self.folder):
            point_names(self.folder)
            prune(self.folder, keep_last=self.io.keep_last)

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
        self.scores, self.scored_step, self.due = scores, trainer.global_step, True
        if inside_window(trainer):
            self._save(trainer)

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.io.check()
        opens = batch_idx % trainer.accumulate_grad_batches == 0 and trainer.global_step > 0
        if opens and not trainer.fast_dev_run and self._is_due(trainer):  # type: ignore[attr-defined]
            self.save_here(trainer)

    def _is_due(self, trainer: lightning.Trainer) -> bool:
        if self.due or (self.every_steps is not None and trainer.global_step % self.every_steps == 0):
            return True
        if self.every_minutes is None:
            return False
        late = time.monotonic() - self.saved_at >= 60 * self.every_minutes
        # Clocks differ, and a save takes all ranks.
        return late if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(late, all=False)

    def save_here(self, trainer: lightning.Trainer) -> None:
        """Save this step, unless that was done; before a batch that opens a window. Collective."""
        if self.due or self.saved_step != trainer.global_step:
            self._save(trainer)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """The epoch of the last step, for the manifest and for people; Lightning names the one that comes."""
        position = here(trainer)
        checkpoint["epoch"] = position.epoch if position.batches else max(0, position.epoch - 1)

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.saved_step = checkpoint["global_step"]

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Also where the step is saved already: this checkpoint says that training has ended."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.sync()
        path = step_folder(self.folder, trainer.global_step) / STATE_NAME
        scores = self.scores if self.scored_step == trainer.global_step else {}
        trainer.save_checkpoint(path, weights_only=False, storage_options={"scores": scores})
        self.due, self.saved_step, self.saved_at = False, trainer.global_step, time.monotonic()
