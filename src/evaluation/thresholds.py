"""Where to cut: rules that choose a decision threshold on validation, to be applied to test as it is.

Labels y (N,) of 0 and 1, probabilities p (N,) of class 1; at threshold t, class 1 is predicted where p >= t. A metric
changes at the distinct probabilities only, so no other threshold can be better. Of equally good ones the nearest to
0.5 is taken, the lower of two equally near.
"""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np

from src.evaluation.confusion import confusion_counts, metrics_of
from src.evaluation.curves import Counts, counts_by_threshold


class Chosen(NamedTuple):
    """A threshold, or None and the reason."""

    threshold: float | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class F1:
    """The highest F1 = 2 TP / (2 TP + FP + FN)."""

    def choose(self, labels: np.ndarray, probabilities: np.ndarray) -> Chosen:
        return Chosen(best_threshold(labels, probabilities)[0])

    def __str__(self) -> str:
        return "f1"


@dataclass(frozen=True, kw_only=True)
class Precision:
    """The lowest threshold with precision = TP / (TP + FP) of at least `wanted`, which has the highest recall."""

    wanted: Annotated[float, "> 0, <= 1"]

    def choose(self, labels: np.ndarray, probabilities: np.ndarray) -> Chosen:
        counts = _counts(labels, probabilities)
        precision = counts.true_positives / (counts.true_positives + counts.false_positives)
        enough = np.flatnonzero(precision >= self.wanted)
        if len(enough):
            return Chosen(float(counts.thresholds[enough[-1]]))
        return Chosen(None, f"none has a precision of {self.wanted:g} on val, the highest is {max(precision):.4f}")

    def __str__(self) -> str:
        return f"precision, wanted {self.wanted:g}"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The lowest cost = false_positive * FP + false_negative * FN.

    Where class 1 is never worth predicting, the threshold is the next number above all probabilities.
    """

    false_positive: Annotated[float, "> 0"]
    false_negative: Annotated[float, "> 0"]

    def choose(self, labels: np.ndarray, probabilities: np.ndarray) -> Chosen:
        counts = _counts(labels, probabilities)
        positives = counts.true_positives[-1]
        costs = self.false_positive * counts.false_positives + self.false_negative * (positives - counts.true_positives)
        thresholds = np.append(np.nextafter(counts.thresholds[0], np.inf), counts.thresholds)
        return Chosen(_nearest_to_half(thresholds, -np.append(self.false_negative * positives, costs)))

    def of(self, confusion: np.ndarray) -> float:
        """The cost of confusion counts (2, 2), rows the true class."""
        return float(self.false_positive * confusion[0, 1] + self.false_negative * confusion[1, 0])

    def __str__(self) -> str:
        return f"cost, false_positive {self.false_positive:g}, false_negative {self.false_negative:g}"


Rule = F1 | Precision | Cost


def best_threshold(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """(t, F1) with the highest F1. Raises ValueError if there is no positive label: F1 is 0 or undefined then."""
    counts = _counts(labels, probabilities)
    # FN = positives - TP, so 2 TP + FP + FN = TP + FP + positives.
    f1 = 2 * counts.true_positives / (counts.true_positives + counts.false_positives + counts.true_positives[-1])
    return _nearest_to_half(counts.thresholds, f1), float(f1.max())


def choose_on_val(rule: Rule, labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """What result.json keeps: threshold, threshold_rule, and the metrics of val there; or null and threshold_note.

    labels (N,), probabilities (N, C).
    """
    if probabilities.shape[1] != 2:
        chosen = Chosen(None, f"of {probabilities.shape[1]} classes the most probable is predicted")
    elif len(np.unique(labels)) != 2:
        chosen = Chosen(None, "val holds examples of one class only")
    else:
        chosen = rule.choose(labels, probabilities[:, 1])
    found = {"threshold": chosen.threshold, "threshold_rule": str(rule)}
    if chosen.threshold is None:
        return {**found, "threshold_note": chosen.reason}
    return found | at_threshold("val", rule, labels, probabilities, threshold=chosen.threshold)


def at_threshold(
    split: str, rule: Rule, labels: np.ndarray, probabilities: np.ndarray, *, threshold: float
) -> dict[str, float]:
    """Metrics of a split when class 1 is predicted from `threshold` on; with the rule cost also what that costs."""
    counts = confusion_counts(labels, probabilities[:, 1] >= threshold, num_classes=2)
    cost = {"cost": rule.of(counts)} if isinstance(rule, Cost) else {}
    return {f"{split}_at_threshold/{name}": value for name, value in (metrics_of(counts) | cost).items()}


def _counts(labels: np.ndarray, probabilities: np.ndarray) -> Counts:
    counts = counts_by_threshold(labels, probabilities)
    if counts.true_positives[-1] == 0:
        raise ValueError("labels hold no positive example; no threshold is better than another")
    return counts


def _nearest_to_half(thresholds: np.ndarray, scores: np.ndarray) -> float:
    """Of the thresholds (K,), which descend, that with the highest score (K,), ties as said above."""
    best = np.flatnonzero(scores == scores.max())[::-1]  # thresholds ascending, so that argmin takes the lower of two
    return float(thresholds[best[np.argmin(np.abs(thresholds[best] - 0.5))]])
