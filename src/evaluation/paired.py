"""Whether two networks differ by more than chance: on the same examples, or over the seeds of their recipes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any, Protocol

import numpy as np

from src.evaluation.bootstrap import paired_bootstrap

CHANCE = 0.05  # a smaller p is called unlikely to be chance
MOST_SPLITS = math.comb(20, 10)  # all are tried for up to 10 and 10 values, else as many at random


class Predicted(Protocol):
    """rows (N,), their numbers in the source split; labels (N,); probabilities (N, C)."""

    @property
    def rows(self) -> np.ndarray: ...
    @property
    def labels(self) -> np.ndarray: ...
    @property
    def probabilities(self) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two networks on the rows they share: accuracies, B - A with its 95 % interval, and McNemar's p.

    It is about these two networks; what other seeds of the same recipes would do, `seeds` tells.
    """

    num_rows: int
    a_accuracy: float
    b_accuracy: float
    a_only: int  # rows on which A is right and B is wrong
    b_only: int
    difference: float
    low: float
    high: float
    p: float
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Means over seeds, B - A, the p of a permutation test, and the least p that so many values can show."""

    a_mean: float
    b_mean: float
    difference: float
    p: float
    least_p: float
    sentence: str


def compare(
    a: Predicted, b: Predicted, *, names: tuple[str, str] = ("A", "B"), resamples: int = 1000, seed: int = 0
) -> Comparison:
    """The most probable classes of two networks on the rows that both have; ask `differing_data` first.

    Raises ValueError if they share no row, disagree about a label or the classes, or one has a row twice.
    """
    for name, found in zip(names, (a, b), strict=True):
        if len(np.unique(found.rows)) != len(found.rows):
            raise ValueError(f"{name} has a row more than once")
    rows, at_a, at_b = np.intersect1d(a.rows, b.rows, assume_unique=True, return_indices=True)
    if not len(rows):
        raise ValueError(f"{names[0]} and {names[1]} were measured on different rows")
    labels, probabilities = a.labels[at_a], (a.probabilities[at_a], b.probabilities[at_b])
    if not np.array_equal(labels, b.labels[at_b]):
        raise ValueError(f"{names[0]} and {names[1]} were measured on other data: the same rows have other labels")
    a_right, b_right = (found.argmax(axis=1) == labels for found in probabilities)
    a_only, b_only = int((a_right & ~b_right).sum()), int((b_right & ~a_right).sum())
    p = mcnemar(a_right, b_right)
    low, high = paired_bootstrap("acc", labels, *probabilities, resamples=resamples, seed=seed)
    shared = f"On the {len(rows)} rows that both have, of {len(a.rows)} and {len(b.rows)}: "
    return Comparison(
        num_rows=len(rows),
        a_accuracy=float(a_right.mean()),
        b_accuracy=float(b_right.mean()),
        a_only=a_only,
        b_only=b_only,
        difference=(b_only - a_only) / len(rows),
        low=low,
        high=high,
        p=p,
        sentence=(shared if len(rows) < max(len(a.rows), len(b.rows)) else "") + _said(names, a_only, b_only, p),
    )


def _said(names: tuple[str, str], a_only: int, b_only: int, p: float) -> str:
    if a_only == b_only == 0:
        return f"{names[0]} and {names[1]} are right on the same reviews."
    (most, better), (least, other) = sorted([(b_only, names[1]), (a_only, names[0])], key=lambda side: -side[0])
    counts = (
        f"{better} is right on {most} reviews where {other} is wrong, and {other} on {least} where {better} is wrong"
    )
    return f"{counts}: {_verdict(p)}."


def _verdict(p: float) -> str:
    shown = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    return f"{shown}, so the difference {'is unlikely to be' if p < CHANCE else 'could well be'} chance"


def mcnemar(a_right: np.ndarray, b_right: np.ndarray) -> float:
    """p = min(1, 2 P(X <= min(m, n))), X ~ Binomial(m + n, 1/2), m and n the rows where only A or only B is right.

    The exact form of McNemar's test, which Dietterich 1998 (Neural Computation 10) recommends for two networks and one
    test set. a_right, b_right: (N,) booleans; 1 if they never differ.
    """
    m, n = int((a_right & ~b_right).sum()), int((b_right & ~a_right).sum())
    ways = total = 1  # whole numbers: nothing is rounded before the division, and no p is too small for it
    for number in range(min(m, n)):
        ways = ways * (m + n - number) // (number + 1)
        total += ways
    return min(1.0, 2 * total / 2 ** (m + n))


def seeds(values_a: Sequence[float], values_b: Sequence[float], *, seed: int = 0) -> Seeds:
    """Whether two recipes differ, from a metric of each of their seeds, by a permutation test (Fisher 1935).

    p = the share of all ways to deal the values out again in which the means differ at least as much. It assumes no
    normal distribution, which two or three values cannot show. Raises ValueError for no value, or NaN.
    """
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    values = np.concatenate([a, b])
    if not len(a) or not len(b) or not np.isfinite(values).all():
        raise ValueError(f"values {list(values_a)} and {list(values_b)} must be finite numbers, at least one of each")
    sums = _sums(values, len(a), seed=seed)
    differences = np.abs(sums / len(a) - (values.sum() - sums) / len(b))
    slack = 1e-9 * np.ptp(values)  # equal differences come out of sums in other orders
    observed = abs(b.mean() - a.mean())
    p, least = (float(np.mean(differences >= bound - slack)) for bound in (observed, differences.max()))
    means = f"{a.mean():.4f} over {len(a)} and {b.mean():.4f} over {len(b)} seeds"
    verdict = f"p = {p:.2g}, and so few seeds cannot show a difference" if least >= CHANCE else _verdict(p)
    return Seeds(
        a_mean=float(a.mean()),
        b_mean=float(b.mean()),
        difference=float(b.mean() - a.mean()),
        p=p,
        least_p=least,
        sentence=f"{means}: {verdict}.",
    )


def _sums(values: np.ndarray, size: int, *, seed: int) -> np.ndarray:
    """The sum of every choice of `size` of the values, or of as many drawn by chance, the given one among them."""
    if math.comb(len(values), size) <= MOST_SPLITS:
        chosen = np.fromiter(chain.from_iterable(combinations(range(len(values)), size)), dtype=np.int64)
        return values[chosen.reshape(-1, size)].sum(axis=1)
    draw = np.random.default_rng(seed)
    drawn = [draw.permutation(values)[:size].sum() for _ in range(MOST_SPLITS // 10)]
    return np.array([values[:size].sum(), *drawn])


def differing_data(a: dict[str, Any], b: dict[str, Any], *, split: str) -> str | None:
    """Why the rows of `split` of two runs are not the same reviews, from `data` of their env.json; None if they are.

    Another split_seed is no reason: rows are numbered in the source, and those in both splits were held out from both.
    """
    for name in ("content", "label_names", *(["split"] if split == "test" else [])):
        if a.get(name) is None or b.get(name) is None:
            return f"it is not known on which data they were measured: {name} is missing"
        if a[name] != b[name]:
            return f"they were measured on other data: {name} is {a[name]} and {b[name]}"
    return None
