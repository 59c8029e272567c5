"""Importances: explained variance against loops, fANOVA on a function with a known answer."""

import itertools
import random

import numpy as np
import pytest

from src.sweep.importance import explained, importances, pieces_of, weigh
from src.sweep.read import read
from tests.many_runs import make_sweep


def test_explained_variance_is_what_loops_find():
    """sum over groups of n_g (mean_g - mean)^2, over the sum of (x - mean)^2."""
    draw = random.Random(3)
    labels = [draw.choice("abc") for _ in range(30)]
    values = [draw.gauss(0, 1) + (label == "a") for label in labels]
    mean = sum(values) / len(values)
    between = 0.0
    for label in "abc":
        group = [value for name, value in zip(labels, values, strict=True) if name == label]
        between += len(group) * (sum(group) / len(group) - mean) ** 2
    total = sum((value - mean) ** 2 for value in values)
    assert explained(labels, np.array(values)) == pytest.approx(between / total, rel=1e-12)


def test_in_a_whole_grid_the_shares_of_a_sum_add_up_to_one(tmp_path):
    """f = a(x) + b(y) has no combinations: the two-way analysis of variance leaves nothing over."""
    axes = {"x": ["1", "2", "3"], "y": ["u", "v"]}
    parts = [({"1": 0.0, "2": 1.0, "3": 5.0}[x], {"u": 0.0, "v": 2.0}[y]) for x, y in itertools.product(*axes.values())]
    sweep = make_sweep(tmp_path / "sweep", axes, results=[[a + b] for a, b in parts])
    variances = np.var([a for a, _ in parts]), np.var([b for _, b in parts])
    shares = importances(sweep)
    assert shares == pytest.approx({"x": variances[0] / sum(variances), "y": variances[1] / sum(variances)})
    assert list(shares) == ["x", "y"]
    assert "rough: only 6 jobs" in weigh(read(sweep), 0).sentence


def test_shares_of_a_grid_with_missing_jobs_are_said_to_overlap(tmp_path):
    """Jobs (1, 1) and (2, 2) alone: each axis seems to explain all. A value of which every job is missing is none."""
    axes = {"x": ["1", "2"], "y": ["1", "2"]}
    found = weigh(read(make_sweep(tmp_path / "a", axes, results=[[0.1]] * 3 + [[0.2]], fails=(1, 2))), 0)
    assert found.shares == pytest.approx({"x": 1, "y": 1})
    assert "The 2 measured jobs of 4 are no whole grid" in found.sentence
    assert "the rest is in combinations" not in found.sentence
    axes["x"].append("3")
    found = weigh(read(make_sweep(tmp_path / "b", axes, results=[[0.1], [0.2], [0.3]] * 2, fails=(4, 5))), 0)
    assert "the rest is in combinations" in found.sentence


@pytest.mark.parametrize(
    ("axes", "results", "sentence"),
    [
        ({"x": ["1", "2"]}, [[0.1], [0.2]], "Only x was varied"),
        ({"x": ["1", "2"], "y": ["1", "2"]}, [[0.1]] * 4, "Nothing differed"),
        ({"x": ["1"]}, [[0.1]], "Nothing differed"),
    ],
)
def test_where_there_is_nothing_to_tell_a_sentence_says_so(tmp_path, axes, results, sentence):
    """Rather than 100 %."""
    found = weigh(read(make_sweep(tmp_path / "sweep", axes, results=results)), 0)
    assert found.shares == {}
    assert found.sentence.startswith(sentence)


SPACE = {"optimizer.lr": "log(1e-4, 1e-1)", "model.hidden": "int(1, 9)", "optimizer": "choice(adam, sgd)"}


def search(path, *, jobs):
    """loss = 1 where lr < 1e-3, a third of its logarithm, and 0.3 more with sgd; the width has no part in it."""
    draw = random.Random(0)
    settings = [
        {"optimizer.lr": f"{10 ** draw.uniform(-4, -1):.4g}", "model.hidden": str(draw.randint(1, 9)),
         "optimizer": draw.choice(["adam", "sgd"])}
        for _ in range(jobs)
    ]  # fmt: skip
    losses = [[(float(s["optimizer.lr"]) < 1e-3) + 0.3 * (s["optimizer"] == "sgd")] for s in settings]
    return make_sweep(path, SPACE, jobs=settings, kind="search", results=losses, epochs=1)


def test_a_short_search_gets_no_numbers(tmp_path):
    """Nine jobs tell nothing about three axes."""
    found = weigh(read(search(tmp_path / "sweep", jobs=9)), 0)
    assert (found.shares, found.sentence) == ({}, "9 measured jobs are too few to tell; it takes 10.")


@pytest.mark.filterwarnings("ignore")  # what scikit-learn imports warns of other packages
def test_fanova_finds_the_axis_that_decides(tmp_path):
    """The same numbers each time; the learning rate is weighed by its logarithm."""
    pytest.importorskip("sklearn")
    pytest.importorskip("optuna")
    sweep = search(tmp_path / "sweep", jobs=60)
    found = weigh(read(sweep), 0)
    # Variances 1/3 * 2/3 and 0.3^2 / 4; by the learning rate itself, not its logarithm, it would be 0.28.
    assert found.shares["optimizer.lr"] == pytest.approx(0.908, abs=0.06)
    assert found.shares["optimizer"] == pytest.approx(0.092, abs=0.06)
    assert found.shares["model.hidden"] < 0.02
    assert sum(found.shares.values()) <= 1 + 1e-9
    assert found.sentence.startswith("fANOVA over 60 jobs")
    assert importances(sweep) == found.shares


def test_without_scikit_learn_the_axes_are_cut_into_pieces(tmp_path, monkeypatch):
    """And the page says so."""
    sweep = search(tmp_path / "sweep", jobs=60)

    def missing(*_):
        raise ImportError("No module named 'sklearn'")

    monkeypatch.setattr("src.sweep.importance.fanova", missing)
    found = weigh(read(sweep), 0)
    assert next(iter(found.shares)) == "optimizer.lr"
    assert "pieces of each axis" in found.sentence


def test_pieces_hold_equally_many():
    """Numbers in three; words, and few numbers, as they are."""
    pieces = pieces_of([str(n) for n in range(12)])
    assert sorted(pieces.count(piece) for piece in set(pieces)) == [4, 4, 4]
    assert pieces_of(["a", "b", "c", "d", "1"]) == ["a", "b", "c", "d", "1"]
    assert pieces_of(["1", "2", "1"]) == ["1", "2", "1"]
