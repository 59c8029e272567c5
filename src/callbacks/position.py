"""Where a run stands: three numbers, from which all of Lightning's loop counters follow."""

from typing import NamedTuple

import lightning
from lightning.pytorch.loops.progress import _BatchProgress

from src.data.sampler import BatchOrder


class Position(NamedTuple):
    """Batches and steps that are behind a run; its next batch opens an accumulation window."""

    epoch: int
    batches: int  # of this epoch
    global_step: int


class StartAt(_BatchProgress):
    """The batches of an epoch of which the first `done` are behind; the epochs after it start at 0."""

    done = 0

    def reset_on_run(self) -> None:
        super().reset_on_run()
        self.increment_by(self.done)
        self.done = 0


def batches_done(trainer: lightning.Trainer) -> int:
    """Batches of the running epoch, or of the last one, that are wholly done."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.completed  # type: ignore[attr-defined]


def inside_window(trainer: lightning.Trainer) -> bool:
    """Whether gradients have been accumulated that no optimizer step has used yet, and none will at an epoch's end."""
    done = batches_done(trainer)
    return done % trainer.accumulate_grad_batches != 0 and done != trainer.num_training_batches


def here(trainer: lightning.Trainer) -> Position:
    """Where the running window opened, or the next one will; in training, in a validation and at the end."""
    epoch, done = trainer.current_epoch, batches_done(trainer)
    if trainer.fit_loop.epoch_progress.current.ready == epoch:  # behind the last epoch
        if done == trainer.num_training_batches:
            return Position(epoch, 0, trainer.global_step)
        epoch -= 1  # which max_steps or a callback cut, so that it may go on
    return Position(epoch, done - done % trainer.accumulate_grad_batches, trainer.global_step)


def go_to(trainer: lightning.Trainer, position: Position) -> None:
    """Set the counters as they are at `position` in a run that was never interrupted; before the loop runs.

    Lightning's own restart stages are left out of it: they guess from counters what a checkpoint was taken in the
    middle of, and a second resume of the same epoch guesses wrong. To Lightning this is a run that begins here.
    """
    loop = trainer.fit_loop
    for counter in (loop.epoch_progress.total, loop.epoch_progress.current):
        counter.reset()
        counter.increment_by(position.epoch)
    batches = loop.epoch_loop
    batches.batch_progress = StartAt()
    batches.batch_progress.done = position.batches
    steps = batches.automatic_optimization.optim_progress.optimizer.step
    steps.total.reset()
    steps.total.increment_by(position.global_step)
    batches._batches_that_stepped = position.global_step  # the step that loggers write


def count_batches(trainer: lightning.Trainer, position: Position) -> None:
    """Count the batches of earlier epochs, by which check_val_every_n_epoch=null validates; once the data is there."""
    batches = position.epoch * int(trainer.num_training_batches)
    trainer.fit_loop.epoch_loop.batch_progress.total.increment_by(batches)


def enter_epoch(trainer: lightning.Trainer, position: Position) -> None:
    """Let the epoch's batches begin behind those that are done; in `on_train_epoch_start`."""
    order = trainer.train_dataloader.sampler  # type: ignore[union-attr]
    assert isinstance(order, BatchOrder), "only an order that is a function of (seed, epoch) can be entered anywhere"
    order.position = position.batches
    fetcher = trainer.fit_loop._data_fetcher
    if position.epoch == 0 and fetcher is not None:
        iter(fetcher)  # Lightning has begun the first epoch by now, and begins every other one after this hook
