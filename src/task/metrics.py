"""The metrics of a classifier, exact over a whole split."""

from torchmetrics import MetricCollection
from torchmetrics.classification import Accuracy, AUROC, ConfusionMatrix, F1Score, Precision, Recall


def classification_metrics(num_classes: int, *, prefix: str) -> MetricCollection:
    """acc, precision, recall, f1 and auroc under `prefix` ("val/").

    With two classes precision, recall and F1 are those of class 1 and the inputs are its probabilities (N,); with
    more they are macro averages and the inputs are (N, C). AUROC keeps every score, so it is exact and not binned.
    """
    if num_classes == 2:
        common: dict = {"task": "binary"}
        average: dict = common
    else:
        common = {"task": "multiclass", "num_classes": num_classes}
        average = {**common, "average": "macro"}
    return MetricCollection(
        {
            "acc": Accuracy(**common, **({} if num_classes == 2 else {"average": "micro"})),
            "precision": Precision(**average),
            "recall": Recall(**average),
            "f1": F1Score(**average),
            "auroc": AUROC(**average),
        },
        prefix=prefix,
        compute_groups=False,
    )


def confusion_matrix(num_classes: int) -> ConfusionMatrix:
    """Counts (C, C), rows the true class, columns the predicted one."""
    return ConfusionMatrix(task="binary") if num_classes == 2 else ConfusionMatrix(task="multiclass", num_classes=num_classes)
