"""Ends a run that was asked to by a signal: all ranks at the same step, after it is saved."""

from typing import Any

import lightning
import torch
from torch import distributed

from src.callbacks.checkpoint import Checkpoint
from src.run.signals import Signals


def agree(signals: Signals) -> bool:
    """True on every rank if any of them was asked to end; all then know of the signal. Collective.

    What the ranks have agreed on is the answer, not what this one has received: a signal may come in between.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return signals.received is not None
    number = torch.tensor(signals.received or 0)
    distributed.all_reduce(number, op=distributed.ReduceOp.MAX)
    signals.hear(int(number))
    return bool(number)


def obey(signals: Signals) -> None:
    """End here if any rank was asked to. Collective.

    Raises:
        Terminated, Interrupted: on every rank.
    """
    if agree(signals):
        signals.look()


class Interruption(lightning.Callback):
    """Looks at the signals before every batch that opens an accumulation window, where `Checkpoint` can save, and
    before every batch of an evaluation outside training.

    The signals of all ranks count: the largest number is reduced over them, on the CPU, so that a signal to one rank
    ends all at the same step. It stands behind Checkpoint in the list of callbacks.
    """

    def __init__(self, signals: Signals) -> None:
        self.signals = signals

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0 and agree(self.signals):
            saved = self.save(trainer)
            if trainer.is_global_zero:
                place = "resume=auto continues there" if saved else "it is not saved: no callback saves checkpoints"
                print(f"Asked to end after step {trainer.global_step}; {place}.", flush=True)
            self.signals.look()

    def on_validation_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # Inside training a validation goes on to its end: only then is the step it belongs to complete.
        if trainer.state.fn != "fit":
            obey(self.signals)

    on_test_batch_start = on_validation_batch_start

    def save(self, trainer: lightning.Trainer) -> bool:
        """Save the step and return when it is on the disk, on all ranks; False if no callback saves checkpoints."""
        savers = [callback for callback in trainer.callbacks if isinstance(callback, Checkpoint)]  # type: ignore[attr-defined]
        for saver in savers:
            saver.save_here(trainer)
            saver.io.wait()
        # The first rank that ends tells the launcher that the others may be ended too.
        trainer.strategy.barrier("saved")
        return bool(savers)
