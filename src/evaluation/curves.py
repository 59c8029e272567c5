"""ROC, precision-recall and calibration curves of a positive class, from labels and probabilities alone.

Letters: labels y (N,) of 0 and 1, probabilities p (N,) of class 1. At threshold t, positive means p >= t.
"""

from typing import NamedTuple

import numpy as np


class Counts(NamedTuple):
    """At each distinct probability, highest first: the threshold (K,), and TP and FP with it (K,)."""

    thresholds: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray


class Curve(NamedTuple):
    """Points of a curve, in drawing order: x (K,), y (K,)."""

    x: np.ndarray
    y: np.ndarray


class Calibration(NamedTuple):
    """Per non-empty bin: mean probability, fraction of positives, number of examples; and the expected error."""

    mean_probability: np.ndarray
    fraction_positive: np.ndarray
    sizes: np.ndarray
    expected_error: float


def counts_by_threshold(labels: np.ndarray, probabilities: np.ndarray) -> Counts:
    """TP(t) = sum of y over p >= t, FP(t) = sum of 1 - y over p >= t, for every distinct p as t.

    Raises ValueError for shapes other than (N,), an empty split, labels other than 0 and 1, NaN.
    """
    labels, probabilities = _checked(labels, probabilities)
    order = np.argsort(-probabilities, kind="stable")
    sorted_labels, sorted_probabilities = labels[order], probabilities[order]
    # Equal probabilities share one threshold, so only the last of each group is a point of a curve.
    last = np.append(np.flatnonzero(np.diff(sorted_probabilities)), len(labels) - 1)
    true_positives = np.cumsum(sorted_labels)[last]
    return Counts(sorted_probabilities[last], true_positives, last + 1 - true_positives)


def roc_curve(labels: np.ndarray, probabilities: np.ndarray) -> Curve:
    """x = FP / negatives, y = TP / positives, from (0, 0) to (1, 1). Raises ValueError unless both classes occur."""
    counts = counts_by_threshold(labels, probabilities)
    positives, negatives = counts.true_positives[-1], counts.false_positives[-1]
    _need_both(positives, negatives)
    x = np.append(0, counts.false_positives) / negatives
    return Curve(x, np.append(0, counts.true_positives) / positives)


def roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the ROC curve = P(p of a positive > p of a negative) + half of P(equal), by trapezoids."""
    curve = roc_curve(labels, probabilities)
    return float(np.sum(np.diff(curve.x) * (curve.y[1:] + curve.y[:-1]) / 2))


def precision_recall_curve(labels: np.ndarray, probabilities: np.ndarray) -> Curve:
    """x = recall = TP / positives, y = precision = TP / (TP + FP), from the highest threshold to the lowest.

    Raises ValueError unless both classes occur.
    """
    counts = counts_by_threshold(labels, probabilities)
    positives, negatives = counts.true_positives[-1], counts.false_positives[-1]
    _need_both(positives, negatives)
    predicted = counts.true_positives + counts.false_positives
    return Curve(counts.true_positives / positives, counts.true_positives / predicted)


def average_precision(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """AP = sum over thresholds of (recall_k - recall_{k-1}) precision_k: a step sum, because trapezoids flatter."""
    curve = precision_recall_curve(labels, probabilities)
    return float(np.sum(np.diff(curve.x, prepend=0) * curve.y))


def calibration(labels: np.ndarray, probabilities: np.ndarray, *, num_bins: int = 10) -> Calibration:
    """Reliability in bins of equal width, and ECE = sum over bins of n_b / N |fraction positive - mean probability|.

    Bins are [0, 1/B), ..., [(B-1)/B, 1]. Guo et al. 2017 (arXiv:1706.04599), for the positive class instead of the top
    one. Raises ValueError for probabilities outside 0 to 1.
    """
    labels, probabilities = _checked(labels, probabilities)
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise ValueError(f"probabilities ({probabilities.min()} to {probabilities.max()}) must lie between 0 and 1")
    bins = np.minimum((probabilities * num_bins).astype(np.int64), num_bins - 1)
    sizes = np.bincount(bins, minlength=num_bins)
    used = sizes > 0
    mean = np.bincount(bins, probabilities, num_bins)[used] / sizes[used]
    fraction = np.bincount(bins, labels, num_bins)[used] / sizes[used]
    expected = float(np.sum(sizes[used] * np.abs(fraction - mean)) / len(labels))
    return Calibration(mean, fraction, sizes[used], expected)


def _checked(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if labels.shape != probabilities.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels {labels.shape} and probabilities {probabilities.shape} must both be (N,), N > 0")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels ({labels.min()} to {labels.max()}) must be 0 or 1")
    if np.isnan(probabilities).any():
        raise ValueError(f"probabilities hold {np.isnan(probabilities).sum()} NaN of {len(labels)}")
    return labels.astype(np.int64), probabilities


def _need_both(positives: int, negatives: int) -> None:
    if not positives or not negatives:
        raise ValueError(f"positives ({positives}) and negatives ({negatives}) must both occur; the curve is undefined")
