"""How sure a metric is: percentile intervals from resampled examples (Efron and Tibshirani 1993, chapter 13).

Resampling is stratified: each class keeps its number of examples, because the splits here are cut with a fixed number
per class, so that it is no matter of chance. Every class is then in every resample, and recall and the area under the
ROC curve are always defined. Where all examples of each class were predicted alike, the interval has no width.

Letters: N examples, C classes, K cells, R resamples. A metric depends on an example only through its class and its
cell (what was predicted, or the rank of its probability), so counts per cell stand for resampled rows.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

Metric = Literal["acc", "precision", "recall", "f1", "auroc"]
# Up to here counts are drawn and not rows: a draw of 64 counts takes 4 us, one of 12,500 rows 56 us.
FEW_CELLS = 64
_AT_ONCE = 2_000_000  # counts in memory


def interval(
    metric: Metric,
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """(low, high) of a metric of the most probable class, as metrics_of and roc_auc define it.

    labels (N,), probabilities (N, C). Resamples in which the metric is undefined (no example was predicted to be of
    a class) are left out; (NaN, NaN) if it is in all. Raises ValueError for shapes, classes or settings that are none.
    """
    num_classes = check(labels, probabilities, metric=metric, resamples=resamples, level=level)
    by_rank = metric == "auroc"
    score = area if by_rank else scorer(metric)
    cells = ranks(probabilities[:, 1]) if by_rank else probabilities.argmax(axis=1)
    num_cells = len(labels) if by_rank else num_classes
    draws = resample(labels, cells, num_classes=num_classes, num_cells=num_cells, resamples=resamples, seed=seed)
    return middle(np.concatenate([score(counts) for counts in draws]), level=level)


def paired_bootstrap(
    metric: Metric,
    labels: np.ndarray,
    a_probabilities: np.ndarray,
    b_probabilities: np.ndarray,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """(low, high) of metric(B) - metric(A) on the same resampled rows, else as `interval`.

    labels (N,), probabilities (N, C) of the same rows.
    """
    if a_probabilities.shape != b_probabilities.shape:
        raise ValueError(f"probabilities {a_probabilities.shape} and {b_probabilities.shape} must be of the same rows")
    num_classes = check(labels, a_probabilities, metric=metric, resamples=resamples, level=level)
    settings = {"num_classes": num_classes, "resamples": resamples, "seed": seed}
    differences = []
    if metric == "auroc":
        places = [_places(probabilities[:, 1]) for probabilities in (a_probabilities, b_probabilities)]
        for counts in resample(labels, np.arange(len(labels)), num_cells=len(labels), **settings):
            ours, theirs = (area(np.add.reduceat(counts[..., order], starts, axis=2)) for order, starts in places)
            differences.append(theirs - ours)
    else:
        score = scorer(metric)
        cells = a_probabilities.argmax(axis=1) * num_classes + b_probabilities.argmax(axis=1)
        for counts in resample(labels, cells, num_cells=num_classes**2, **settings):
            both = counts.reshape(-1, num_classes, num_classes, num_classes)  # r, true, A's, B's
            differences.append(score(both.sum(axis=2)) - score(both.sum(axis=3)))
    return middle(np.concatenate(differences), level=level)


def resample(
    labels: np.ndarray, cells: np.ndarray, *, num_classes: int, num_cells: int, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """counts (r, C, K) of r resamples at a time, R in all: how many examples of each class fell into each cell.

    Of a class with n examples n are drawn with replacement, so that its counts are multinomial.
    """
    draw = np.random.default_rng(seed)
    classes = [cells[labels == number] for number in range(num_classes)]
    at_once = max(1, _AT_ONCE // (num_classes * num_cells))
    for start in range(0, resamples, at_once):
        counts = np.zeros((min(at_once, resamples - start), num_classes, num_cells), dtype=np.int64)
        for number, own in enumerate(classes):
            if not len(own):
                continue
            if num_cells <= FEW_CELLS:
                shares = np.bincount(own, minlength=num_cells) / len(own)
                counts[:, number] = draw.multinomial(len(own), shares, size=len(counts))
                continue
            for drawn in counts[:, number]:
                drawn += np.bincount(own[draw.integers(len(own), size=len(own))], minlength=num_cells)
        yield counts


def scorer(metric: Metric) -> Callable[[np.ndarray], np.ndarray]:
    """Confusion counts (r, C, C), rows the true class, to the metric of each (r,): metrics_of for many at once."""

    def score(counts: np.ndarray) -> np.ndarray:
        right = np.diagonal(counts, axis1=1, axis2=2)
        actual, predicted = counts.sum(axis=2), counts.sum(axis=1)
        if metric == "acc":
            return right.sum(axis=1) / actual.sum(axis=1)
        over = {"precision": predicted, "recall": actual, "f1": (actual + predicted) / 2}[metric]
        with np.errstate(invalid="ignore"):  # 0 / 0: undefined
            values = right / over
        return values[:, 1] if counts.shape[1] == 2 else values.mean(axis=1)

    return score


def area(counts: np.ndarray) -> np.ndarray:
    """Counts (r, 2, K), cells ascending in probability, to the area under the ROC curve (r,), see roc_auc."""
    negatives, positives = counts[:, 0], counts[:, 1]
    twice_below = 2 * np.cumsum(negatives, axis=1) - negatives  # an equal probability counts one half
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    return np.einsum("rk,rk->r", positives, twice_below) / (2 * pairs)


def ranks(probabilities: np.ndarray) -> np.ndarray:
    """(N,) the place of each probability among the distinct ones, ascending."""
    return np.unique(probabilities, return_inverse=True)[1]


def _places(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order that sorts them, ascending, and where in it each distinct one begins."""
    places = ranks(probabilities)
    order = np.argsort(places, kind="stable")
    return order, np.flatnonzero(np.diff(places[order], prepend=-1))


def middle(values: np.ndarray, *, level: float) -> tuple[float, float]:
    """The bounds of the middle `level` of the values, those that are NaN left out; NaN if there is no other."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def check(labels: np.ndarray, probabilities: np.ndarray, *, metric: str, resamples: int, level: float) -> int:
    """The number of classes. Raises ValueError for shapes, classes or settings that are none."""
    if labels.ndim != 1 or probabilities.ndim != 2 or len(labels) != len(probabilities) or not len(labels):
        raise ValueError(f"labels {labels.shape} and probabilities {probabilities.shape} must be (N,) and (N, C)")
    num_classes = probabilities.shape[1]
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels ({labels.min()} to {labels.max()}) must lie between 0 and {num_classes - 1}")
    if metric == "auroc" and (num_classes != 2 or len(np.unique(labels)) != 2):
        raise ValueError("auroc needs two classes that both occur")
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"resamples ({resamples}) must be at least 1, level ({level}) between 0 and 1")
    return num_classes
