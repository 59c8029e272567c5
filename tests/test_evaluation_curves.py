"""Curves and thresholds, against scikit-learn, double loops and definitions."""

import numpy as np
import pytest

from src.evaluation.curves import average_precision, calibration, precision_recall_curve, roc_auc, roc_curve
from src.evaluation.thresholds import best_threshold

CASES = [(seed, size, digits) for seed, size in [(0, 2), (1, 7), (2, 50), (3, 400)] for digits in (1, 2, 16)]


def draw_case(seed: int, size: int, digits: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both classes and probabilities that know something of them; few digits make many equal ones."""
    draw = np.random.default_rng(seed)
    labels = np.append([0, 1], draw.integers(2, size=size - 2))
    return labels, np.round(np.clip(0.3 * labels + draw.random(size) * 0.7, 0, 1), digits)


@pytest.mark.parametrize("case", CASES)
def test_curves_and_areas_are_those_of_scikit_learn(case: tuple[int, int, int]) -> None:
    """All points, ties included."""
    metrics = pytest.importorskip("sklearn.metrics")
    labels, probabilities = draw_case(*case)
    x, y, _ = metrics.roc_curve(labels, probabilities, drop_intermediate=False)
    ours = roc_curve(labels, probabilities)
    np.testing.assert_allclose(ours.x, x, atol=1e-12)
    np.testing.assert_allclose(ours.y, y, atol=1e-12)
    assert roc_auc(labels, probabilities) == pytest.approx(metrics.roc_auc_score(labels, probabilities))
    precision, recall, _ = metrics.precision_recall_curve(labels, probabilities)
    ours = precision_recall_curve(labels, probabilities)
    np.testing.assert_allclose(ours.x[::-1], recall[:-1], atol=1e-12)  # theirs runs backwards and adds (0, 1)
    np.testing.assert_allclose(ours.y[::-1], precision[:-1], atol=1e-12)
    expected = metrics.average_precision_score(labels, probabilities)
    assert average_precision(labels, probabilities) == pytest.approx(expected)


@pytest.mark.parametrize("case", CASES)
def test_the_roc_area_is_the_share_of_pairs_in_the_right_order(case: tuple[int, int, int]) -> None:
    """A positive above a negative counts 1, equal counts 1/2: needs no library."""
    labels, probabilities = draw_case(*case)
    positives, negatives = probabilities[labels == 1], probabilities[labels == 0]
    pairs = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    assert roc_auc(labels, probabilities) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("case", CASES)
def test_the_best_threshold_is_that_of_a_double_loop(case: tuple[int, int, int]) -> None:
    """All distinct probabilities are tried, each by a loop over the examples; ties go to the one nearest to 0.5."""
    labels, probabilities = draw_case(*case)
    tried = []
    for threshold in sorted(set(probabilities)):
        tp = fp = fn = 0
        for label, probability in zip(labels, probabilities, strict=True):
            tp += label == 1 and probability >= threshold
            fp += label == 0 and probability >= threshold
            fn += label == 1 and probability < threshold
        tried.append((-2 * tp / (2 * tp + fp + fn), abs(threshold - 0.5), threshold))
    score, _, threshold = min(tried)
    assert best_threshold(labels, probabilities) == (threshold, pytest.approx(-score))


def test_no_threshold_between_the_probabilities_is_better() -> None:
    """F1 over a fine grid never exceeds the one found."""
    labels, probabilities = draw_case(5, 60, 2)
    _, best = best_threshold(labels, probabilities)
    for threshold in np.linspace(-0.1, 1.1, 501):
        predicted = probabilities >= threshold
        assert 2 * (predicted & (labels == 1)).sum() / (predicted.sum() + labels.sum()) <= best + 1e-12


@pytest.mark.parametrize("case", CASES)
def test_calibration_is_that_of_a_loop_over_bins(case: tuple[int, int, int]) -> None:
    """Bins of equal width; 1.0 belongs to the last one."""
    labels, probabilities = draw_case(*case)
    found, error = calibration(labels, probabilities, num_bins=5), 0.0
    bins = [np.minimum(np.floor(probabilities * 5), 4) == b for b in range(5)]
    used = [inside for inside in bins if inside.any()]
    for index, inside in enumerate(used):
        assert found.sizes[index] == inside.sum()
        assert found.mean_probability[index] == pytest.approx(probabilities[inside].mean())
        assert found.fraction_positive[index] == pytest.approx(labels[inside].mean())
        error += inside.mean() * abs(labels[inside].mean() - probabilities[inside].mean())
    assert found.sizes.sum() == len(labels)
    assert found.expected_error == pytest.approx(error)


def test_what_has_no_curve_is_refused() -> None:
    """One class, no examples, NaN, labels of -1: undefined is said, not drawn as 0."""
    half = np.array([0.5, 0.5])
    for curve in (roc_curve, precision_recall_curve):
        with pytest.raises(ValueError, match=r"positives \(2\) and negatives \(0\)"):
            curve(np.array([1, 1]), half)
    with pytest.raises(ValueError, match="no positive example"):
        best_threshold(np.array([0, 0]), half)
    with pytest.raises(ValueError, match="N > 0"):
        roc_curve(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="1 NaN of 2"):
        roc_curve(np.array([0, 1]), np.array([0.5, np.nan]))
    with pytest.raises(ValueError, match=r"labels \(-1 to 1\)"):
        roc_curve(np.array([-1, 1]), half)
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibration(np.array([0, 1]), np.array([0.5, 1.5]))
