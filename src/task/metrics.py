"""The metrics of a classifier, exact over a whole split."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import AUROC, Accuracy, ConfusionMatrix, F1Score, Precision, Recall


class ClassificationMetrics(nn.Module):
    """loss, acc, precision, recall, f1, auroc and the confusion matrix, over the batches of all ranks.

    With two classes precision, recall and F1 are those of class 1; with more they are macro averages. Every score is
    kept, so AUROC is exact and not binned.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        kind: dict[str, Any] = {"task": "binary", "sync_on_compute": False}  # `finish` gathers the scores themselves
        if num_classes > 2:
            kind |= {"task": "multiclass", "num_classes": num_classes, "average": "macro"}
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
        self.kept: list[tuple[Tensor, Tensor, Tensor]] = []  # of each batch: scores, labels, loss

    def update(self, probabilities: Tensor, labels: Tensor, loss: Tensor, *, counts: bool) -> None:
        """probabilities (B, C), labels (B,), and their mean loss (); a batch without `counts` only keeps its place."""
        scores = probabilities[:, 1] if self.num_classes == 2 else probabilities
        rows = len(labels) * counts
        wide = torch.promote_types(loss.dtype, torch.float32)
        self.kept.append((scores[:rows], labels[:rows], loss.to(wide) * rows))

    def finish(self, gather: Callable[[Tensor], Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """The metrics by name and the counts (C, C), rows the true class; then everything starts from nothing.

        gather: the rows (n, ...) of all ranks behind each other.
        """
        parts = zip(*self.kept, strict=True)
        scores, labels, losses = (gather(join(list(part))) for join, part in zip(JOINS, parts, strict=True))
        turns, self.kept = len(self.kept), []
        self.metrics.update(scores, labels)
        self.confusion.update(scores, labels)
        counts = self.confusion.compute()
        one_class = bool((counts.sum(dim=1) == 0).any())
        # With a class missing there is nothing to rank against; torchmetrics would call that 0.
        undefined = {"auroc": torch.tensor(float("nan"))} if one_class else {}
        found = {name: metric.compute() for name, metric in self.metrics.items() if name not in undefined}
        self.metrics.reset()
        self.confusion.reset()
        return {"loss": mean_loss(losses.view(-1, turns), len(labels)), **found, **undefined}, counts


JOINS = (torch.cat, torch.cat, torch.stack)


def mean_loss(sums: Tensor, count: int) -> Tensor:
    """() mean over `count` rows, sums (ranks, batches of each) in the order in which one process would add them up.

    Added in another order float32 would come out a little different, and with it the choice of the best checkpoint.
    """
    total = np.cumsum(sums.t().flatten().cpu().numpy())[-1]
    return torch.tensor(total / total.dtype.type(count))
