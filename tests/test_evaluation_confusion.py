"""Confusion counts and metrics, against loops and the chapter's examples."""

import math

import numpy as np
import pytest

from src.evaluation.confusion import accuracy, confusion_counts, f1, metrics_of, precision, recall


def counts_of(*, tp: int, fp: int, fn: int, tn: int) -> np.ndarray:
    """The matrix of examples with these counts, built from labels and predictions."""
    labels = [1] * tp + [0] * fp + [1] * fn + [0] * tn
    predictions = [1] * tp + [1] * fp + [0] * fn + [0] * tn
    return confusion_counts(np.array(labels), np.array(predictions), num_classes=2)


def test_the_matrix_is_that_of_a_double_loop() -> None:
    """Rows are true classes, columns predicted ones."""
    draw = np.random.default_rng(0)
    for num_classes in (2, 3, 7):
        labels, predictions = draw.integers(num_classes, size=(2, 200))
        expected = [[sum((labels == i) & (predictions == j)) for j in range(num_classes)] for i in range(num_classes)]
        np.testing.assert_array_equal(confusion_counts(labels, predictions, num_classes=num_classes), expected)


def test_the_example_of_20_labels_gives_800_and_three_times_818() -> None:
    """TP 9, FP 2, FN 2, TN 7."""
    metrics = metrics_of(counts_of(tp=9, fp=2, fn=2, tn=7))
    assert {name: f"{value:.3f}" for name, value in metrics.items()} == {
        "acc": "0.800", "precision": "0.818", "recall": "0.818", "f1": "0.818",
    }  # fmt: skip


def test_the_validation_epoch_of_the_chapter_gives_its_four_numbers() -> None:
    """TP 139, FN 9, FP 72, TN 280."""
    metrics = metrics_of(counts_of(tp=139, fp=72, fn=9, tn=280))
    assert {name: f"{value:.3f}" for name, value in metrics.items()} == {
        "acc": "0.838", "precision": "0.659", "recall": "0.939", "f1": "0.774",
    }  # fmt: skip


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    """On random matrices of three classes; macro is the plain mean."""
    draw = np.random.default_rng(1)
    for _ in range(50):
        counts = draw.integers(1, 30, size=(3, 3))
        singles = []
        for c in range(3):
            p, r = precision(counts, positive=c), recall(counts, positive=c)
            assert f1(counts, positive=c) == pytest.approx(2 * p * r / (p + r))
            singles.append(p)
        assert metrics_of(counts)["precision"] == pytest.approx(sum(singles) / 3)


def test_undefined_is_nan_and_not_zero() -> None:
    """Never predicted: no precision. No such example: no recall. Neither: no F1. Nothing at all: no accuracy."""
    never_predicted = counts_of(tp=0, fp=0, fn=3, tn=2)
    assert math.isnan(precision(never_predicted))
    assert (recall(never_predicted), f1(never_predicted)) == (0, 0)
    assert math.isnan(recall(counts_of(tp=0, fp=3, fn=0, tn=2)))
    assert math.isnan(f1(counts_of(tp=0, fp=0, fn=0, tn=2)))
    assert math.isnan(accuracy(np.zeros((2, 2), dtype=int)))


@pytest.mark.parametrize(
    ("labels", "predictions", "words"),
    [([0, 2], [0, 1], r"labels \(0 to 2\)"), ([0, 1], [0, -1], r"predictions \(-1 to 0\)"), ([0], [0, 1], r"\(1,\)")],
)
def test_values_outside_the_classes_are_refused(labels: list[int], predictions: list[int], words: str) -> None:
    """A label of -1 must not count in the last cell of the row above."""
    with pytest.raises(ValueError, match=words):
        confusion_counts(np.array(labels), np.array(predictions), num_classes=2)
