"""Bootstrap intervals, against loops over drawn rows, and by how often they hold what is true."""

from math import erf
from typing import Any

import numpy as np
import pytest

from src.evaluation import bootstrap
from src.evaluation.bootstrap import area, interval, paired_bootstrap, ranks, resample, scorer
from src.evaluation.confusion import confusion_counts, metrics_of
from src.evaluation.curves import roc_auc

METRICS = ("acc", "precision", "recall", "f1")


def draw(seed: int, size: int, num_classes: int = 2, digits: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) of unequal classes and probabilities (N, C) that know something of them."""
    generator = np.random.default_rng(seed)
    labels = np.append(np.arange(num_classes), generator.integers(num_classes, size=size - num_classes))
    logits = generator.normal(size=(size, num_classes)) + 1.5 * (labels[:, None] == np.arange(num_classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, np.round(probabilities, digits)


def slow(metric: str, labels: np.ndarray, probabilities: np.ndarray) -> float:
    if metric == "auroc":
        return roc_auc(labels, probabilities[:, 1])
    num_classes = probabilities.shape[1]
    return metrics_of(confusion_counts(labels, probabilities.argmax(axis=1), num_classes=num_classes))[metric]


def rows_drawn(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Row numbers of one stratified resample."""
    return np.concatenate([generator.choice(np.flatnonzero(labels == c), (labels == c).sum()) for c in set(labels)])


@pytest.mark.parametrize("num_classes", [2, 3])
def test_all_resamples_at_once_are_the_loop_over_each(num_classes: int) -> None:
    """The counts of each resample, written out as rows, give the same metrics; every class keeps its size."""
    labels, probabilities = draw(0, 40, num_classes)
    cells = probabilities.argmax(axis=1)
    settings = {"num_classes": num_classes, "num_cells": num_classes, "resamples": 25, "seed": 0}
    counts = np.concatenate(list(resample(labels, cells, **settings)))
    assert (counts.sum(axis=2) == np.bincount(labels)).all()
    for number, matrix in enumerate(counts):
        for metric in METRICS:
            assert scorer(metric)(counts)[number] == pytest.approx(metrics_of(matrix)[metric], nan_ok=True)


@pytest.mark.parametrize("digits", [1, 16])
def test_the_area_from_counts_is_that_of_the_rows(digits: int) -> None:
    """With one digit many probabilities are equal."""
    labels, probabilities = draw(1, 50, digits=digits)
    cells = ranks(probabilities[:, 1])
    for counts in resample(labels, cells, num_classes=2, num_cells=50, resamples=20, seed=0):
        for matrix, found in zip(counts, area(counts), strict=True):
            rows = [np.repeat(np.arange(50), matrix[label]) for label in (0, 1)]
            expected = roc_auc(np.repeat([0, 1], [len(own) for own in rows]), np.concatenate(rows))
            assert found == pytest.approx(expected)


@pytest.mark.parametrize("few_cells", [0, 64])
@pytest.mark.parametrize("metric", [*METRICS, "auroc"])
def test_intervals_are_those_of_drawing_rows(metric: Any, few_cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of drawing counts have the distribution of rows drawn with replacement."""
    monkeypatch.setattr(bootstrap, "FEW_CELLS", few_cells)
    labels, probabilities = draw(2, 80)
    generator = np.random.default_rng(0)
    drawn = (rows_drawn(labels, generator) for _ in range(1500))
    expected = np.quantile([slow(metric, labels[rows], probabilities[rows]) for rows in drawn], [0.025, 0.975])
    found = interval(metric, labels, probabilities, resamples=4000)
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize("metric", ["acc", "f1", "auroc"])
def test_intervals_of_differences_are_those_of_drawing_pairs_of_rows(metric: Any) -> None:
    """The same rows for both, so that what is hard for both does not count as a difference."""
    labels, a = draw(3, 80)
    b = 0.7 * a + 0.3 * draw(3, 80)[1][::-1]
    generator = np.random.default_rng(0)
    drawn = [rows_drawn(labels, generator) for _ in range(1500)]
    differences = [slow(metric, labels[rows], b[rows]) - slow(metric, labels[rows], a[rows]) for rows in drawn]
    found = paired_bootstrap(metric, labels, a, b, resamples=4000)
    np.testing.assert_allclose(found, np.quantile(differences, [0.025, 0.975]), atol=0.02)
    assert paired_bootstrap(metric, labels, a, a) == (0, 0)


@pytest.mark.parametrize("metric", ["acc", "f1", "auroc"])
def test_95_percent_intervals_hold_the_truth_95_times_of_100(metric: Any) -> None:
    """Positives score 1 + noise, negatives noise, and 0.5 is the cut: the truth is known."""
    repeats, size, resamples = (400, 200, 300) if metric == "auroc" else (600, 200, 500)
    rate = 0.5 * (1 + erf(0.5 / 2**0.5))  # of both classes, and so the accuracy, and at equal classes F1
    truth = 0.5 * (1 + erf(1 / 2)) if metric == "auroc" else rate
    generator, labels, held = np.random.default_rng(0), np.repeat([0, 1], size), 0
    for seed in range(repeats):
        scores = 1 / (1 + np.exp(0.5 - generator.normal(size=2 * size) - labels))
        both = np.stack([1 - scores, scores], axis=1)
        low, high = interval(metric, labels, both, resamples=resamples, seed=seed)
        held += low <= truth <= high
    assert 0.92 <= held / repeats <= 0.98


def test_undefined_resamples_are_left_out() -> None:
    """Of 3 examples one is predicted positive: without it precision is 0 / 0."""
    labels, both = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    assert interval("precision", labels, both) == (1, 1)
    assert np.isnan(interval("precision", labels, both[[0, 0, 0]])).all()


def test_what_has_no_interval_is_refused() -> None:
    labels, both = draw(0, 20)
    for wrong, word in (
        ({"labels": labels[:5]}, r"\(5,\)"),
        ({"labels": labels + 1}, "between 0 and 1"),
        ({"labels": labels * 0, "metric": "auroc"}, "both occur"),
        ({"resamples": 0}, "resamples"),
        ({"level": 1.0}, "level"),
    ):
        with pytest.raises(ValueError, match=word):
            interval(**{"metric": "acc", "labels": labels, "probabilities": both, **wrong})
    with pytest.raises(ValueError, match="same rows"):
        paired_bootstrap("acc", labels, both, both[:5])
