"""One split through a task: its metrics and every single prediction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import lightning
import numpy as np
import torch

from src.data.batch import Batch


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
            self.kept.append((batch.rows.cpu(), batch.labels.cpu(), outputs.float().cpu()))

    on_test_batch_end = on_validation_batch_end

    def predictions(self) -> dict[str, np.ndarray]:
        """All batches as arrays, sorted by row."""
        if not self.kept:
            return {}
        rows, labels, probabilities = (torch.cat(parts).numpy() for parts in zip(*self.kept, strict=True))
        order = np.argsort(rows, kind="stable")
        return {"rows": rows[order], "labels": labels[order], "probabilities": probabilities[order]}


def evaluate_split(
    task: lightning.LightningModule,
    data: lightning.LightningDataModule,
    *,
    split: Literal["val", "test"],
    make_trainer: Callable[..., lightning.Trainer],
) -> Evaluation:
    """Metrics and predictions of `task` as it stands on one split, on one device, no example counted twice."""
    collect = Collect()
    trainer = make_trainer(callbacks=[collect], logger=False)
    run = trainer.validate if split == "val" else trainer.test
    metrics = run(task, datamodule=data, verbose=False)[0]
    return Evaluation(metrics=dict(metrics), predictions=collect.predictions())
