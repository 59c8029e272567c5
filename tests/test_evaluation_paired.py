"""Comparisons of two networks, against SciPy, loops over all cases, and simulated chance."""

from itertools import combinations, product

import numpy as np
import pytest

from src.evaluation import paired
from src.evaluation.paired import compare, differing_data, mcnemar, seeds
from src.run.predictions import Predictions


def right(both: int, a_only: int, b_only: int, none: int) -> tuple[np.ndarray, np.ndarray]:
    """Which rows A and B are right on."""
    counts = (both, a_only, b_only, none)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def predictions(correct: np.ndarray, *, first: int = 0) -> Predictions:
    """Of labels that alternate, on rows from `first` on."""
    labels = np.arange(len(correct)) % 2
    probabilities = np.where((labels == 1) == correct, 0.8, 0.2)
    return Predictions(np.arange(first, first + len(correct)), labels, np.stack([1 - probabilities, probabilities], 1))


def test_mcnemar_is_the_share_of_coins_that_fall_at_least_as_unevenly() -> None:
    """All ways that the rows on which A and B differ could have fallen, one by one."""
    for a_only, b_only in product(range(5), range(5)):
        total, apart = a_only + b_only, abs(a_only - b_only)
        falls = [abs(2 * sum(coins) - total) >= apart for coins in product((0, 1), repeat=total)]
        assert mcnemar(*right(7, a_only, b_only, 3)) == pytest.approx(np.mean(falls))


def test_mcnemar_is_the_binomial_test_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for a_only, b_only in ((0, 0), (17, 41), (3, 0), (120, 121), (2223, 2327), (9000, 9500)):
        expected = stats.binomtest(a_only, a_only + b_only).pvalue if a_only + b_only else 1.0
        assert mcnemar(*right(10, a_only, b_only, 2)) == pytest.approx(expected)


def test_a_comparison_says_in_a_sentence_what_it_found() -> None:
    a, b = (predictions(correct) for correct in right(400, 17, 41, 42))
    found = compare(a, b)
    assert found.sentence == (
        "B is right on 41 reviews where A is wrong, and A on 17 where B is wrong: p = 0.0022, so the difference is "
        "unlikely to be chance."
    )
    assert (found.num_rows, found.a_only, found.b_only) == (500, 17, 41)
    assert (found.a_accuracy, found.b_accuracy) == (417 / 500, 441 / 500)
    assert found.difference == pytest.approx(24 / 500)
    assert 0 < found.low < found.difference < found.high
    turned = compare(b, a, names=("new", "old"))
    assert turned.sentence.startswith("new is right on 41 reviews where old is wrong, and old on 17")
    assert turned.p == found.p
    assert turned.difference == pytest.approx(-found.difference)
    assert compare(*(predictions(c) for c in right(40, 3, 4, 0))).sentence.endswith("could well be chance.")
    assert compare(a, a).sentence == "A and B are right on the same reviews."


def test_only_rows_that_both_have_are_compared() -> None:
    """B's rows begin 100 later, in another order."""
    a, b = predictions(np.ones(300, bool)), predictions(np.arange(300) < 250, first=100)
    order = np.random.default_rng(0).permutation(300)
    shuffled = Predictions(b.rows[order], b.labels[order], b.probabilities[order])
    found = compare(a, shuffled)
    assert (found.num_rows, found.a_accuracy, found.b_accuracy) == (200, 1, 1)
    assert found.sentence.startswith("On the 200 rows that both have, of 300 and 300: ")


def test_other_rows_or_labels_are_refused() -> None:
    a = predictions(np.ones(10, bool))
    with pytest.raises(ValueError, match="different rows"):
        compare(a, predictions(np.ones(10, bool), first=10))
    with pytest.raises(ValueError, match="other labels"):
        compare(a, Predictions(a.rows, 1 - a.labels, a.probabilities))
    with pytest.raises(ValueError, match="new has a row more than once"):
        compare(a, Predictions(a.rows * 0, a.labels, a.probabilities), names=("old", "new"))


def test_runs_on_other_data_are_told_apart_by_what_they_say_of_it() -> None:
    one = {"content": "abc", "label_names": ["neg", "pos"], "split": "holdout", "split_seed": 0}
    assert differing_data(one, {**one, "split_seed": 1}, split="test") is None
    assert "content is abc and abd" in str(differing_data(one, {**one, "content": "abd"}, split="val"))
    assert "label_names" in str(differing_data(one, {**one, "label_names": ["pos", "neg"]}, split="val"))
    # Test rows are numbered in another file there, rows of val in the same one.
    assert "official" in str(differing_data(one, {**one, "split": "official"}, split="test"))
    assert differing_data(one, {**one, "split": "official"}, split="val") is None
    assert "not known" in str(differing_data(one, {}, split="val"))


@pytest.mark.parametrize("sizes", [(1, 1), (2, 3), (4, 4), (3, 6)])
def test_seeds_are_compared_by_all_ways_to_deal_them_out(sizes: tuple[int, int]) -> None:
    """One by one, on values of two digits, of which many are equal."""
    generator = np.random.default_rng(sum(sizes))
    a, b = (np.round(0.8 + generator.random(size) / 10, 2) for size in sizes)
    values = [*a, *b]
    apart = []
    for chosen in combinations(range(len(values)), len(a)):
        rest = [values[place] for place in range(len(values)) if place not in chosen]
        apart.append(abs(np.mean([values[place] for place in chosen]) - np.mean(rest)))
    found = seeds(a, b)
    assert found.p == pytest.approx(np.mean(np.array(apart) >= abs(a.mean() - b.mean()) - 1e-12))
    assert found.least_p == pytest.approx(np.mean(np.array(apart) >= max(apart) - 1e-12))
    assert found.difference == pytest.approx(b.mean() - a.mean())


def test_the_permutation_test_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=6), generator.normal(size=6) + 1

    def difference(x, y, axis):
        return x.mean(axis=axis) - y.mean(axis=axis)

    expected = stats.permutation_test((a, b), difference, vectorized=True, n_resamples=np.inf).pvalue
    assert seeds(a, b).p == pytest.approx(expected)


def test_many_values_are_dealt_out_by_chance_and_come_near(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    a, b = generator.normal(size=7), generator.normal(size=7) + 1
    exact = seeds(a, b).p
    monkeypatch.setattr(paired, "MOST_SPLITS", 3000)
    drawn = [seeds(a, b, seed=seed).p for seed in range(20)]
    assert len(set(drawn)) > 1
    assert np.mean(drawn) == pytest.approx(exact, abs=0.02)


def test_seeds_of_one_recipe_differ_by_chance_no_more_often_than_said() -> None:
    """p <= 0.05 for at most one in twenty pairs of the same distribution, a very skewed one."""
    generator = np.random.default_rng(2)
    found = [seeds(*np.exp(3 * generator.normal(size=(2, 5)))).p for _ in range(400)]
    assert np.mean(np.array(found) <= 0.05) <= 0.08


def test_too_few_seeds_are_said_to_show_nothing() -> None:
    assert "so few seeds cannot show a difference" in seeds([0.88, 0.87, 0.89], [0.91, 0.92, 0.93]).sentence
    assert seeds([0.88, 0.87, 0.89, 0.88], [0.91, 0.92, 0.93, 0.9]).sentence.endswith("unlikely to be chance.")
    assert "could well be" in seeds([0.88, 0.87, 0.95, 0.88], [0.91, 0.92, 0.83, 0.9]).sentence
    assert seeds([0.5, 0.5], [0.5, 0.5]).p == 1
    for values in ([], [float("nan")]):
        with pytest.raises(ValueError, match="finite"):
            seeds([0.5], values)
