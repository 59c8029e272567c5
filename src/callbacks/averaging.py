"""Averages of the weights along the way: what is measured, kept as the best and used; training goes on from the others.

One rule: outside training steps the weights are the average. Validation, early stopping, the best checkpoint and texts
of `samples` see it, and a checkpoint's `state_dict` holds it, so that test, evaluate, predict, generate, export and
init_from do as well; the weights that train are kept beside it, for a run that goes on. No network here has batch norm,
whose statistics would have to be measured anew for averaged weights.
"""

from abc import ABC, abstractmethod
from typing import Any

import lightning
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from src.strategy.apply import restore_weights

KEY = "averaging"  # in a checkpoint
TRAINED = "trained"  # there: the state dict of the weights that train


class Averaging(lightning.Callback, ABC):
    """Keeps an average of the parameters in float32, beside the weights, and moves it after optimizer steps.

    A step that was left out (task.non_finite=skip) counts with the weights as they were. Legend: n updates so far,
    w weights, a average; an update is a += share * (w - a).
    """

    def __init__(self) -> None:
        self.average: dict[str, Tensor] = {}  # by the parameters' names, while fitting
        self.updates = 0
        self.trained: dict[str, Tensor] | None = None  # copies of the weights that train, while the average is shown
        self.step = 0  # optimizer steps that were looked at
        self.loaded: dict[str, Any] = {}

    @abstractmethod
    def share(self, trainer: lightning.Trainer, *, epoch_ends: bool) -> float | None:
        """How far this step's weights pull the average; None leaves them out."""

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """The weights that train are put back by Continuation, also in a run that averages no longer."""
        if trainer.state.fn == TrainerFn.FITTING and KEY in checkpoint:
            same = checkpoint[KEY]["kind"] == type(self).__name__  # otherwise this average begins here
            self.loaded = checkpoint[KEY] if same else {}

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The weights lie on their device and have their type by now."""
        found, self.loaded = self.loaded, {}
        self.updates = found.get("updates", 0)
        saved = found.get("average", {})
        self.average = {
            name: saved.get(name, weight.detach()).to(weight.device, wide(weight.dtype), copy=True)
            for name, weight in pl_module.named_parameters()
        }

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.step = trainer.global_step

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.trained is not None:
            put(self.trained, pl_module)
            self.trained = None

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step:  # inside an accumulation window
            return
        self.step = trainer.global_step
        share = self.share(trainer, epoch_ends=batch_idx + 1 == trainer.num_training_batches)
        if share is not None:
            pull(list(self.average.values()), list(pl_module.parameters()), share=share)
            self.updates += 1

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The average stays until the next batch of training, whatever looks at the weights in between."""
        if trainer.state.fn == TrainerFn.FITTING and self.updates and self.trained is None:
            self.trained = {name: weight.detach().clone() for name, weight in pl_module.named_parameters()}
            put(self.average, pl_module)

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Also the end of a run that had ended before."""
        if self.updates:
            put(self.average, pl_module)
        elif trainer.is_global_zero:
            print(f"{type(self).__name__}: training ended before there was anything to average.", flush=True)
        self.average, self.trained = {}, None

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Names of one matrix that two layers share stay one tensor, which a file then holds once."""
        kind = type(self).__name__
        if not self.updates:
            checkpoint[KEY] = {"kind": kind, "updates": 0, "average": {}}
            return
        first = {id(weight): name for name, weight in pl_module.named_parameters()}
        names = {name: first[id(w)] for name, w in pl_module.named_parameters(remove_duplicate=False)}
        state = checkpoint["state_dict"]
        shown = {name: average.to(state[name].dtype) for name, average in self.average.items()}
        trained = self.trained or {name: state[name] for name in self.average}
        checkpoint["state_dict"] = {**state, **{name: shown[names[name]] for name in names}}
        full = {**state, **{name: trained[names[name]] for name in names}}
        checkpoint[KEY] = {"kind": kind, "updates": self.updates, "average": self.average, TRAINED: full}


def wide(dtype: torch.dtype) -> torch.dtype:
    """float32 for 16 bits, in which small shares would be rounded away."""
    return torch.promote_types(dtype, torch.float32)


@torch.no_grad()
def pull(averages: list[Tensor], weights: list[Tensor], *, share: float) -> None:
    """a += share * (w - a), in place; one kernel where types agree, else weight by weight and without a whole copy."""
    if all(average.dtype == weight.dtype for average, weight in zip(averages, weights, strict=True)):
        torch._foreach_lerp_(averages, weights, share)
        return
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight.to(average.dtype), share)


@torch.no_grad()
def put(values: dict[str, Tensor], module: lightning.LightningModule) -> None:
    """Copy values into the parameters, which stay where they are: compiled code and cuDNN know their places."""
    for name, parameter in module.named_parameters():
        parameter.copy_(values[name])


def take_trained(module: lightning.LightningModule, checkpoint: dict[str, Any]) -> None:
    """Give the module the weights that train; Lightning has given it those that are measured."""
    trained = checkpoint.get(KEY, {}).get(TRAINED)
    if trained is not None:
        restore_weights(module, trained)
