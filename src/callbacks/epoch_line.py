"""One line per epoch, and one per validation inside an epoch: losses, accuracy or perplexity, seconds."""

import time
from typing import Any

import lightning

LABELS = {
    "train/loss": "train loss",
    "train/sampled_loss": "sampled loss",
    "val/loss": "val loss",
    "val/acc": "accuracy",
    "val/ppl": "perplexity",
    "val/bits_per_byte": "bits per byte",
}


class EpochLine(lightning.Callback):
    """Prints what a reader of the log wants to follow; the same line on a terminal and in a file.

    The line of an epoch is printed when the next one starts or training ends: only then does Lightning hold the
    metrics that the task itself logs at the end of the epoch.
    """

    def __init__(self) -> None:
        self.started = 0.0
        self.before = 0.0  # seconds of this epoch in a process that was interrupted
        self.finished: tuple[int, float] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": time.monotonic() - self.started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before = state_dict["seconds"]

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._print_epoch(trainer)
        self.started = time.monotonic() - self.before
        self.before = 0.0

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """A language model may see hours of text in one epoch; there a validation is what there is to follow."""
        inside = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch is False
        if trainer.state.fn == "fit" and not trainer.sanity_checking and inside:
            # The train/loss that Lightning still holds is that of the epoch before.
            labels = {name: label for name, label in LABELS.items() if name.startswith("val/")}
            _print(f"step {trainer.global_step:>6}", trainer, time.monotonic() - self.started, labels)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.finished = (trainer.current_epoch + 1, time.monotonic() - self.started)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._print_epoch(trainer)

    def _print_epoch(self, trainer: lightning.Trainer) -> None:
        if self.finished is None:
            return
        epoch, seconds = self.finished
        self.finished = None
        _print(f"epoch {epoch:>3}", trainer, seconds)


def _print(place: str, trainer: lightning.Trainer, seconds: float, labels: dict[str, str] = LABELS) -> None:
    values = trainer.callback_metrics  # on every rank: Lightning may have to ask the others for them
    if not trainer.is_global_zero:
        return
    parts = [f"{label} {float(values[key]):.4f}" for key, label in labels.items() if key in values]
    print("  ".join([place, *parts, f"{seconds:.1f} s"]), flush=True)
