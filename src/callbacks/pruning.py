"""Ends a trial of a search early that does worse than the others; they tell each other through the study's storage."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning
from lightning.pytorch.trainer.states import TrainerFn

from src.callbacks.position import batches_done
from src.errors import Diverged, UserError
from src.run.ranks import Ranks
from src.sweep.pruner import make_pruner
from src.sweep.reports import Reports


class Pruning(lightning.Callback):
    """Reports the monitored metric after each validation and asks the pruner.

    Stands last, behind early stopping. Where it ends the training, that ends as by any callback: with a checkpoint,
    and a resumed run stays there.

    Args:
        folder: the run folder, below that of the search.
        storage, study, trial: where its trials are, see src/sweep/storage.py, and which one this is.
        monitor, mode: the objective, and whether less or more of it is better.
        pruner: its name and settings.
    """

    def __init__(
        self,
        *,
        folder: str,
        storage: str | None,
        study: str,
        trial: Annotated[int | None, ">= 0"],
        monitor: str,
        mode: Literal["min", "max"],
        pruner: dict[str, Any],
    ) -> None:
        judge = make_pruner(pruner, key="callbacks.pruning.pruner")
        if judge is None:
            raise UserError("callbacks.pruning.pruner is empty; leave callbacks.pruning out.")
        self.pruner, self.maximize, self.monitor = judge, mode == "max", monitor
        self.folder, self.storage, self.study, self.trial = Path(folder), storage, study, trial
        self.reported: list[float] = []
        self.reason: str | None = None
        self.ranks: Ranks | None = None
        self.reports: Reports | None = None  # on rank 0

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Collective; one rank writes and reads for all."""
        if stage == TrainerFn.FITTING:
            self.ranks = Ranks()
            self.reports = self.ranks.first(self._open)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if self.ranks is not None:
            self.ranks.close()
        self.ranks = None

    def state_dict(self) -> dict[str, Any]:
        return {"reported": list(self.reported), "reason": self.reason}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.reported, self.reason = list(state_dict["reported"]), state_dict["reason"]

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """A machine that failed may have lost a report whose checkpoint is there."""
        assert self.ranks is not None
        self.ranks.first(self._write)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Not called where a resumed run has ended already: then the reason stays."""
        self.reason = None

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        assert self.ranks is not None
        self.reported.append(measured(self.monitor, trainer.callback_metrics))
        sentence = self.ranks.broadcast(self.ranks.first(self._report))
        if sentence is None or ends_anyway(trainer):
            return
        self.reason = f"{self.monitor} {sentence}"
        trainer.should_stop = True
        if trainer.is_global_zero:
            print(f"Pruned: {self.reason}.", flush=True)

    def _open(self) -> Reports:
        if self.trial is None:
            raise UserError(
                "callbacks.pruning needs the other jobs of a search: hydra/sweeper/pruner=median puts it into each. "
                "Leave it out."
            )
        return Reports(self.folder.absolute().parent, storage=self.storage, study=self.study, trial=self.trial)

    def _write(self) -> None:
        assert self.reports is not None
        self.reports.write(self.reported)

    def _report(self) -> str | None:
        self._write()
        assert self.reports is not None
        return self.pruner.judge(self.reported, self.reports.others(), maximize=self.maximize)


def why_pruned(trainer: lightning.Trainer) -> str | None:
    """Why the training ended early, if a pruner ended it."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return next((each.reason for each in callbacks if isinstance(each, Pruning) and each.reason), None)


def measured(monitor: str, metrics: Mapping[str, Any]) -> float:
    """The monitored metric of a validation.

    Raises:
        UserError: it is not among the metrics.
        Diverged: it is no finite number.
    """
    if monitor not in metrics:
        raise UserError(f"callbacks.pruning.monitor ({monitor}) is not among the metrics of a validation.")
    value = float(metrics[monitor])
    if not math.isfinite(value):
        raise Diverged(f"Training diverged: {monitor} is {value}.")
    return value


def ends_anyway(trainer: lightning.Trainer) -> bool:
    """True where training ends with this validation: then the trial has its value, and there is nothing to save."""
    last = trainer.current_epoch + 1 == trainer.max_epochs and batches_done(trainer) == trainer.num_training_batches
    return trainer.should_stop or last or trainer.global_step == trainer.max_steps
