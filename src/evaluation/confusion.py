"""The confusion matrix and what follows from it. Letters: N examples, C classes, TP/FP/FN/TN of the positive class."""

import numpy as np


def confusion_counts(labels: np.ndarray, predictions: np.ndarray, *, num_classes: int) -> np.ndarray:
    """counts[i, j] = number of examples of class i that were predicted as j, int64 (C, C).

    labels, predictions: (N,) integers from 0 to C - 1; anything else raises ValueError.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1:
        raise ValueError(f"labels {labels.shape} and predictions {predictions.shape} must both be (N,)")
    for name, values in (("labels", labels), ("predictions", predictions)):
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise ValueError(f"{name} ({values.min()} to {values.max()}) must lie between 0 and {num_classes - 1}")
    cells = labels.astype(np.int64) * num_classes + predictions.astype(np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy(counts: np.ndarray) -> float:
    """accuracy = sum of the diagonal / N; NaN without examples."""
    return ratio(np.trace(counts), counts.sum())


def precision(counts: np.ndarray, *, positive: int = 1) -> float:
    """precision = TP / (TP + FP); NaN if the class was never predicted: then it is undefined, not bad."""
    return ratio(counts[positive, positive], counts[:, positive].sum())


def recall(counts: np.ndarray, *, positive: int = 1) -> float:
    """recall = TP / (TP + FN); NaN if no example is of the class."""
    return ratio(counts[positive, positive], counts[positive].sum())


def f1(counts: np.ndarray, *, positive: int = 1) -> float:
    """F1 = 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall; NaN if the class occurs nowhere."""
    true_positives = counts[positive, positive]
    return ratio(2 * true_positives, counts[:, positive].sum() + counts[positive].sum())


def metrics_of(counts: np.ndarray) -> dict[str, float]:
    """acc, precision, recall and f1: of class 1 for two classes, else the plain mean over the classes (macro).

    A class for which a metric is undefined makes the mean undefined (NaN): it must not pass as 0 or be dropped.
    """
    classes = [1] if len(counts) == 2 else range(len(counts))
    mean = {
        metric.__name__: float(np.mean([metric(counts, positive=c) for c in classes]))
        for metric in (precision, recall, f1)
    }
    return {"acc": accuracy(counts), **mean}


def ratio(part: float, whole: float) -> float:
    """part / whole; NaN for 0 / 0."""
    return float(part / whole) if whole else float("nan")
