"""What a checkpoint holds beside Lightning's own state, and how a run goes on from it to the bit."""

import copy
import time
from typing import Any, Protocol

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from src.callbacks.averaging import take_trained
from src.callbacks.logged import log_again, logged_so_far
from src.callbacks.position import Position, batches_done, count_batches, enter_epoch, go_to, here, inside_window
from src.callbacks.throughput import Throughput
from src.errors import UserError
from src.logger.continuing import continue_logs
from src.task.gathering import of_every_rank
from src.task.non_finite import NonFiniteGuard
from src.task.running_loss import RunningLoss

KEY = "continuation"  # in the state


class Task(Protocol):
    """What all tasks keep besides their network."""

    running_loss: RunningLoss
    guard: NonFiniteGuard


class Continuation(lightning.Callback):
    """Writes into every checkpoint where the run stands, and begins a run that was given one at that place.

    Stands before the callbacks that keep something of a batch. No random numbers are kept: StepSeed draws those of a
    batch from its place.

    ends: the settings by which a callback may end training early; a run that was ended goes on when they differ.
    """

    def __init__(self, *, ends: str = "") -> None:
        self.ends = ends
        self.seconds = 0.0  # that earlier processes have trained
        self.started = time.monotonic()
        self.opening: dict[str, Any] | None = None  # the state at the batch that opened the running window
        self.cut: dict[str, Any] | None = None  # the state at the end of an epoch that was not whole
        self.ended = False
        self.loaded: dict[str, Any] | None = None  # until the run has begun
        self.entering: Position | None = None  # until its first epoch has
        self.logged: list[dict[str, Any]] | None = None  # until its first batch has

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.logged is not None and batch_idx:
            log_again(trainer, self.logged)
        self.logged = None
        accumulate = trainer.accumulate_grad_batches
        if accumulate > 1 and batch_idx % accumulate == 0:
            self.opening = sums(trainer, pl_module)
            if trainer.val_check_batch != trainer.num_training_batches:  # a validation may come inside the window
                self.opening["callbacks"] = copy.deepcopy(states(trainer))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Before the task takes its sums: max_steps may be raised, and then this epoch goes on."""
        whole = batches_done(trainer) == trainer.num_training_batches
        self.cut = None if whole else self.opening if inside_window(trainer) else sums(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.ended = True

    def on_save_checkpoint(self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Collective: every rank has sums of its own."""
        pl_module.guard.read()
        state = sums(trainer, pl_module)
        if self.ended:
            state |= {**(self.cut or {}), "should_stop": trainer.should_stop}
        elif inside_window(trainer):  # during a validation, which the window will repeat
            state |= self.opening or {}
        checkpoint["callbacks"] |= state.pop("callbacks", {})
        loss = state["loss"]
        checkpoint[KEY] = {
            **state,
            "position": list(here(trainer)),
            "loss": None if loss is None else of_every_rank(loss, trainer).cpu(),
            "ended": trainer.current_epoch if self.ended else None,
            "ends": self.ends,
            "seconds": self.seconds + time.monotonic() - self.started,
            "metrics": {name: value.detach().cpu().clone() for name, value in trainer.callback_metrics.items()},
            "guard": {"skipped": pl_module.guard.skipped, "skipped_in_a_row": pl_module.guard.skipped_in_a_row},
        }

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if KEY not in checkpoint:
            raise UserError(
                f"The checkpoint of step {checkpoint['global_step']} was written by an older version, which did not "
                "keep where it stood. Start a new run from its weights with init_from=DIR."
            )
        take_trained(pl_module, checkpoint)
        self.loaded = checkpoint[KEY]
        self.seconds = self.loaded["seconds"]
        checkpoint.pop("loops")  # Lightning then leaves its loops alone, see position.go_to
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.state_key in checkpoint["callbacks"]:
                checkpoint["callbacks"][callback.state_key]["patience"] = callback.patience  # it may be a change
        self._choose_place(trainer)

    def _choose_place(self, trainer: lightning.Trainer) -> None:
        """Stay at the end if the run has ended and nothing was changed that would have let it go on."""
        assert self.loaded is not None
        position = Position(*self.loaded["position"])
        trainer.should_stop = self.loaded["should_stop"]
        if self.loaded["ended"] is not None:
            trainer.should_stop = trainer.should_stop and self.loaded["ends"] == self.ends
            go_to(trainer, Position(self.loaded["ended"], 0, position.global_step))
            if trainer.fit_loop.done:
                return
            trainer.should_stop = False
        go_to(trainer, position)
        self.entering, self.logged = position, self.loaded["logged"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        continue_logs(trainer, step=trainer.global_step, resumed=self.loaded is not None)
        if self.entering is not None:
            count_batches(trainer, self.entering)
        self._restore(trainer, pl_module)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.entering is not None:
            enter_epoch(trainer, self.entering)
            self.entering = None

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """For a run that had ended, where no other hook of training is called."""
        if self.loaded is not None:
            # A validation inside the last window, which no step has closed, has logged under this step.
            continue_logs(trainer, step=trainer.global_step + 1, resumed=True)
            self._restore(trainer, pl_module)

    def _restore(self, trainer: lightning.Trainer, task: Task) -> None:
        if self.loaded is None:
            return
        loaded, self.loaded = self.loaded, None
        device = trainer.strategy.root_device
        trainer.callback_metrics.update({name: value.to(device) for name, value in loaded["metrics"].items()})
        task.running_loss.epoch = None if loaded["loss"] is None else own_part(trainer, loaded["loss"]).to(device)
        task.guard.skipped = loaded["guard"]["skipped"]
        task.guard.skipped_in_a_row = loaded["guard"]["skipped_in_a_row"]
        if task.guard.skipped_in_a_row:
            task.guard.streak = torch.tensor(task.guard.skipped_in_a_row, device=device)


def seconds_before(trainer: lightning.Trainer) -> float:
    """What earlier processes have spent on the steps that this one went on from."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return sum(callback.seconds for callback in callbacks if isinstance(callback, Continuation))


def sums(trainer: lightning.Trainer, task: Task) -> dict[str, Any]:
    """What an epoch under way has added up. Its tensors are replaced and never changed, so a reference is a copy."""
    return {"loss": task.running_loss.epoch, "logged": logged_so_far(trainer), "should_stop": trainer.should_stop}


def states(trainer: lightning.Trainer) -> dict[str, Any]:
    """The states of all callbacks but the one that counts for the speed, whose clock makes the host wait for a GPU."""
    callbacks = [each for each in trainer.callbacks if not isinstance(each, Throughput)]  # type: ignore[attr-defined]
    found = {callback.state_key: callback.state_dict() for callback in callbacks}
    return {key: state for key, state in found.items() if state}


def own_part(trainer: lightning.Trainer, sums: Tensor) -> Tensor:
    """This rank's sums (2,) of those of all ranks (ranks, 2); on another number of ranks the first goes on with all."""
    if len(sums) == trainer.world_size:
        return sums[trainer.global_rank]
    return sums.sum(0) * (trainer.global_rank == 0)
