"""The learning rate in the metrics, written only where the other step metrics are."""

from typing import Any

import lightning


class LearningRate(lightning.Callback):
    """Logs `train/learning_rate` of the first parameter group every `trainer.log_every_n_steps` batches.

    Lightning's LearningRateMonitor writes a row of its own per step, which doubles metrics.csv.
    """

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (batch_idx + 1) % every == 0:
            pl_module.log("train/learning_rate", trainer.optimizers[0].param_groups[0]["lr"])
