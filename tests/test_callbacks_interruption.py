"""Signals end training where Checkpoint can save, by what all ranks have agreed on, and Lightning stays out of it."""

import signal

import lightning
import pytest
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from torch import distributed

from src.callbacks.checkpoint import Checkpoint
from src.callbacks.interruption import Interruption, agree, obey
from src.launch.build import leave_signals
from src.run.manifest import find_last
from src.run.signals import Signals, Terminated, listen


class Ask(lightning.Callback):
    """Sends SIGTERM to this process while micro-batch `batch` is under way."""

    def __init__(self, batch):
        self.batch = batch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == self.batch:
            signal.raise_signal(signal.SIGTERM)


def fit(tmp_path, signals, *, accumulate, asked_at):
    checkpoint = Checkpoint(folder=str(tmp_path), monitor="val/loss")
    trainer = lightning.Trainer(
        accelerator="cpu",
        callbacks=[Ask(asked_at), checkpoint, Interruption(signals)],
        plugins=[checkpoint.io],
        accumulate_grad_batches=accumulate,
        max_steps=8,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    model = BoringModel()
    model.train_dataloader = lambda: model.val_dataloader()
    leave_signals(trainer).fit(model)


@pytest.mark.parametrize(("asked_at", "steps"), [(0, 1), (2, 1), (3, 2), (5, 2)])
def test_the_step_is_saved_before_the_next_window_of_micro_batches_opens(tmp_path, asked_at, steps):
    """Windows of three: a signal in micro-batch 0, 1 or 2 saves step 1. Gradients of half a window are never lost."""
    with listen() as signals, signals.held(), pytest.raises(Terminated):
        fit(tmp_path, signals, accumulate=3, asked_at=asked_at)
    assert find_last(tmp_path / "checkpoints").step == steps


def test_a_signal_that_comes_while_ranks_agree_waits_for_their_next_look(monkeypatch):
    """Rank 0 once took the signal that came just after the reduction for its result, left, and rank 1 hung."""
    signals = Signals(insist=False)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)

    def all_reduce(number, op):
        with signals.held():
            signals.note(signal.SIGTERM, None)

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    assert agree(signals) is False
    with pytest.raises(Terminated):
        obey(signals)


def test_lightning_handles_no_signal():
    """The names that are taken from it exist there, and what it would install is not."""
    assert callable(_SignalConnector.register_signal_handlers)
    assert callable(_TrainingEpochLoop._broadcast_sigterm_tensor)
    before = signal.getsignal(signal.SIGTERM)
    trainer = leave_signals(lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False))
    trainer._signal_connector.register_signal_handlers()
    assert signal.getsignal(signal.SIGTERM) is before
    trainer._signal_connector.teardown()
    assert signal.getsignal(signal.SIGTERM) is before
