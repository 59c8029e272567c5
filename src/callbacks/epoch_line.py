"""One line per epoch: epoch, train loss, val loss, accuracy, seconds."""

import time

import lightning


class EpochLine(lightning.Callback):
    """Prints what a reader of the log wants to follow; the same line on a terminal and in a file.

    The line of an epoch is printed when the next one starts or training ends: only then does Lightning hold the
    metrics that the task itself logs at the end of the epoch.
    """

    def __init__(self) -> None:
        self.started = 0.0
        self.finished: tuple[int, float] | None = None

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._print(trainer)
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.finished = (trainer.current_epoch + 1, time.monotonic() - self.started)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._print(trainer)

    def _print(self, trainer: lightning.Trainer) -> None:
        if self.finished is None:
            return
        epoch, seconds = self.finished
        self.finished = None
        labels = {"train/loss": "train loss", "val/loss": "val loss", "val/acc": "accuracy"}
        values = trainer.callback_metrics
        parts = [f"{label} {float(values[key]):.4f}" for key, label in labels.items() if key in values]
        print("  ".join([f"epoch {epoch:>3}", *parts, f"{seconds:.1f} s"]), flush=True)
