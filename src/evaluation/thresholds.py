"""Where to cut: the decision threshold with the highest F1, to be chosen on validation and applied to test."""

import numpy as np

from src.evaluation.curves import counts_by_threshold


def best_threshold(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """(t, F1) with the highest F1 = 2 TP / (2 TP + FP + FN) over all t, positive meaning p >= t.

    Only the distinct probabilities can be best, since F1 changes nowhere else. Of equal ones the nearest to 0.5 is
    taken, the lower of two equally near. Raises ValueError if there is no positive label: F1 is 0 or undefined then.
    """
    counts = counts_by_threshold(labels, probabilities)
    positives = counts.true_positives[-1]
    if positives == 0:
        raise ValueError("labels hold no positive example; no threshold is better than another")
    # FN = positives - TP, so 2 TP + FP + FN = TP + FP + positives.
    f1 = 2 * counts.true_positives / (counts.true_positives + counts.false_positives + positives)
    best = np.flatnonzero(f1 == f1.max())[::-1]  # thresholds ascending, so that argmin takes the lower of two
    chosen = best[np.argmin(np.abs(counts.thresholds[best] - 0.5))]
    return float(counts.thresholds[chosen]), float(f1[chosen])
