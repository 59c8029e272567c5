"""This project's network and batches, in a bare loop and through Lightning's Trainer, over chosen batches."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from src.benchmark.plain_loop import Stopwatch
from src.callbacks.learning_rate import LearningRate
from src.callbacks.step_seed import StepSeed
from src.callbacks.throughput import Throughput
from src.data.batch import Batch
from src.data.sampler import Draw, SortedOrder
from src.data.views import LabelledView
from src.schedule.constant import constant
from src.task.classifier import Classifier

# The chapter's optimizer; fused is one pass over memory instead of several, the same numbers.
make_optimizer = partial(torch.optim.Adam, lr=1e-3, weight_decay=1e-5, fused=True)


def loader(view: LabelledView, draws: Iterable[Draw]) -> DataLoader[Batch]:
    """The data module's kind of loader over some batches."""
    return DataLoader(view, sampler=draws, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]


class BareLoop:
    """The five steps written out, over our batches: what Lightning is measured against."""

    def __init__(self, network: Callable[[], nn.Module], views: dict[str, LabelledView], *, bf16: bool) -> None:
        self.make_network, self.views = network, views
        self.autocast = partial(torch.autocast, "cpu", dtype=torch.bfloat16, enabled=bf16)
        self.start()

    def start(self) -> None:
        self.network = self.make_network().train()
        self.optimizer = make_optimizer(self.network.parameters())

    def train(self, draws: list[Draw]) -> dict[str, float]:
        """Seconds per phase of one pass over these batches."""
        watch = Stopwatch()
        for batch in loader(self.views["train"], draws):
            watch.lap("data")
            with self.autocast():
                loss = functional.cross_entropy(self.network(batch.ids, batch.lengths), batch.labels)
            watch.lap("forward")
            self.optimizer.zero_grad()
            loss.backward()
            watch.lap("backward")
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            watch.lap("step")
        return watch.seconds

    def fit(self, epochs: list[list[Draw]]) -> float:
        """Validation loss after these epochs from fresh weights."""
        self.start()
        for draws in epochs:
            self.train(draws)
        self.network.eval()
        view, total = self.views["val"], 0.0
        with torch.inference_mode(), self.autocast():
            for batch in loader(view, SortedOrder(view.lengths, batch_size=256)):
                logits = self.network(batch.ids, batch.lengths)
                total += functional.cross_entropy(logits, batch.labels, reduction="sum").item()
        return total / len(view)


class Laps(lightning.Callback):
    """A stopwatch on the hooks; it starts with the first batch, since setting up a fit costs once per run."""

    def on_train_epoch_start(self, *_: Any) -> None:
        self.watch = Stopwatch()

    def on_train_batch_start(self, *_: Any) -> None:
        self.watch.lap("data")

    def on_before_backward(self, *_: Any) -> None:
        self.watch.lap("forward")

    def on_after_backward(self, *_: Any) -> None:
        self.watch.lap("backward")

    def on_train_batch_end(self, *_: Any) -> None:
        self.watch.lap("step")

    def on_train_epoch_end(self, *_: Any) -> None:
        self.watch.lap("data")


class LightningLoop:
    """The same through Lightning with our task, callbacks that log, and the CSV logger."""

    def __init__(self, network: nn.Module, views: dict[str, LabelledView], *, bf16: bool, folder: Path) -> None:
        self.task = Classifier(network=network, optimizer=make_optimizer, schedule=constant, decay="all")
        self.views, self.folder = views, folder
        self.precision = "bf16-mixed" if bf16 else "32-true"

    def train(self, draws: list[Draw]) -> dict[str, float]:
        """Seconds per phase of one pass over these batches; what Lightning does between batches counts as data."""
        laps = Laps()
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=1,
            limit_val_batches=0,
            precision=self.precision,  # type: ignore[arg-type]
            gradient_clip_val=1.0,
            callbacks=[StepSeed(seed=0), LearningRate(), Throughput(), laps],
            logger=CSVLogger(self.folder, name="", version=""),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        # Lightning warns of a task that validates without a validation loader, even with validation off.
        trainer.fit(self.task, loader(self.views["train"], draws), loader(self.views["val"], []))
        return laps.watch.seconds
