"""The metrics of a classifier, exact over a whole split."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import AUROC, Accuracy, ConfusionMatrix, F1Score, Precision, Recall


class ClassificationMetrics(nn.Module):
    """acc, precision, recall, f1, auroc and the confusion matrix, gathered batch by batch.

    With two classes precision, recall and F1 are those of class 1; with more they are macro averages. AUROC keeps
    every score, so it is exact and not binned.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        kind: dict[str, Any] = {"task": "binary"}
        if num_classes > 2:
            kind = {"task": "multiclass", "num_classes": num_classes, "average": "macro"}
        metrics: dict[str, Metric] = {
            "acc": Accuracy(**{**kind, "average": "micro"}),
            "precision": Precision(**kind),
            "recall": Recall(**kind),
            "f1": F1Score(**kind),
            "auroc": AUROC(**kind),
        }
        self.metrics = MetricCollection(metrics, compute_groups=False)  # type: ignore[arg-type]
        self.confusion: Metric = ConfusionMatrix(**{key: kind[key] for key in kind if key != "average"})  # type: ignore[assignment]
        self.num_classes = num_classes

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """probabilities (B, C), labels (B,)."""
        scores = probabilities[:, 1] if self.num_classes == 2 else probabilities
        self.metrics.update(scores, labels)
        self.confusion.update(scores, labels)

    def finish(self) -> tuple[dict[str, Tensor], Tensor]:
        """The metrics by name and the counts (C, C), rows the true class; then everything starts from nothing."""
        counts = self.confusion.compute()
        one_class = bool((counts.sum(dim=1) == 0).any())
        # With a class missing there is nothing to rank against; torchmetrics would call that 0.
        undefined = {"auroc": torch.tensor(float("nan"))} if one_class else {}
        found = {name: metric.compute() for name, metric in self.metrics.items() if name not in undefined}
        self.metrics.reset()
        self.confusion.reset()
        return {**found, **undefined}, counts
