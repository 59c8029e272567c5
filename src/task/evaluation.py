"""One split through a task: its metrics and every single prediction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import lightning
import numpy as np
import torch

from src.data.batch import Batch
from src.task.gathering import gather


@dataclass(frozen=True)
class Evaluation:
    """Metrics by name ("val/acc"); rows (N,), labels (N,), probabilities (N, C), ordered by row.

    A language model gives no predictions per row.
    """

    metrics: dict[str, float]
    predictions: dict[str, np.ndarray]


class Collect(lightning.Callback):
    """Keeps rows, labels and probabilities of every batch of an evaluation, if its step returns probabilities."""

    def __init__(self) -> None:
        self.kept: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self.predictions: dict[str, np.ndarray] = {}

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if outputs is not None:
            rows = batch.num_examples
            self.kept.append((batch.rows[:rows], batch.labels[:rows], outputs[:rows].float()))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """All batches of all ranks as arrays, sorted by row."""
        if self.kept:
            parts = (gather(torch.cat(parts), trainer).cpu().numpy() for parts in zip(*self.kept, strict=True))
            rows, labels, probabilities = parts
            order = np.argsort(rows, kind="stable")
            self.predictions = {"rows": rows[order], "labels": labels[order], "probabilities": probabilities[order]}

    on_test_batch_end = on_validation_batch_end
    on_test_end = on_validation_end


def evaluate_split(
    task: lightning.LightningModule,
    data: lightning.LightningDataModule,
    *,
    split: Literal["val", "test"],
    make_trainer: Callable[..., lightning.Trainer],
) -> Evaluation:
    """Metrics and predictions of `task` as it stands on one split, the same on every rank, no example counted twice."""
    collect = Collect()
    trainer = make_trainer(callbacks=[collect], logger=False)
    run = trainer.validate if split == "val" else trainer.test
    metrics = run(task, datamodule=data, verbose=False)[0]
    return Evaluation(metrics=dict(metrics), predictions=collect.predictions)
