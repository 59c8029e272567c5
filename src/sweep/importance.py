"""How much each axis of a sweep decides about the objective: fANOVA for a search, shares of the variance for a grid."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from src.errors import UserError
from src.sweep.axes import Axis, Choice
from src.sweep.read import JobRow, Sweep, read
from src.sweep.space import read_space
from src.sweep.storage import import_optuna

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FEW = 10  # jobs; with fewer the numbers are rough, and a search gets none
_PARTS = 3  # a number's axis is cut into so many pieces of equally many jobs


@dataclass(frozen=True, kw_only=True)
class Importance:
    """shares: 0 to 1 by swept key, the largest first; empty where they would tell nothing. sentence: what they are."""

    shares: dict[str, float]
    sentence: str


def importances(sweep: Path) -> dict[str, float]:
    """The shares of a sweep folder, for its first objective; raises UserError if it is no sweep."""
    return weigh(read(sweep), 0).shares


def weigh(sweep: Sweep, objective: int) -> Importance:
    """The shares for one of the objectives, by its place."""
    jobs = [job for job in sweep.jobs if job.values is not None]
    values = np.array([job.values[objective] for job in jobs if job.values is not None])
    keys = [key for key in sweep.keys if len({job.params.get(key) for job in jobs}) > 1]
    if not keys or np.ptp(values) == 0:
        return Importance(shares={}, sentence="Nothing differed between the jobs that were measured.")
    if len(keys) == 1:
        return Importance(shares={}, sentence=f"Only {keys[0]} was varied: all differences come from it, and chance.")
    rough = f" They are rough: only {len(jobs)} jobs were measured." if len(jobs) < FEW else ""
    if sweep.facts.get("kind") == "grid":
        columns = {key: [job.params.get(key) for job in jobs] for key in keys}
        words = "Share of the objective's variance between the values of each axis"
        if is_balanced(list(columns.values())):
            words += "; the rest is in combinations."
        else:
            words += (
                f". The {len(jobs)} measured jobs of {sweep.total or len(sweep.jobs)} are no whole grid, so the axes "
                "overlap: the shares do not add up, and an axis may have that of another."
            )
        return Importance(shares=_sorted({k: explained(c, values) for k, c in columns.items()}), sentence=words + rough)
    if len(jobs) < FEW:
        return Importance(shares={}, sentence=f"{len(jobs)} measured jobs are too few to tell; it takes {FEW}.")
    try:
        shares = fanova(sweep, jobs, values)
    except (UserError, ImportError):
        pieces = {key: explained(pieces_of([job.params.get(key) for job in jobs]), values) for key in keys}
        words = f"Share of the objective's variance between up to {_PARTS} pieces of each axis; fANOVA needs Optuna."
        return Importance(shares=_sorted(pieces), sentence=words)
    words = f"fANOVA over {len(jobs)} jobs: share of the variance that a random forest lays on each axis alone."
    return Importance(shares=_sorted({key: shares[key] for key in keys if key in shares}), sentence=words)


def is_balanced(columns: Sequence[Sequence[object]]) -> bool:
    """True if every combination of values is there, and each equally often: what the axes explain is then disjoint.

    columns: the value of each job, per axis.
    """
    counts = Counter(zip(*columns, strict=True))
    return len(counts) == math.prod(len(set(column)) for column in columns) and len(set(counts.values())) == 1


def explained(labels: Sequence[object], values: np.ndarray) -> float:
    """Variance between groups over all variance, from 0 to 1: the correlation ratio, eta squared (Fisher 1925).

    labels: the group of each value; values: (N,), not all equal.
    """
    groups: dict[object, list[float]] = {}
    for label, value in zip(labels, values, strict=True):
        groups.setdefault(label, []).append(float(value))
    mean = values.mean()
    between = sum(len(group) * (np.mean(group) - mean) ** 2 for group in groups.values())
    return float(between / ((values - mean) ** 2).sum())


def pieces_of(texts: Sequence[str | None]) -> list[object]:
    """The values of an axis as few groups: numbers in pieces of equally many, words as they are."""
    numbers = [as_number(text) for text in texts]
    if len(set(texts)) <= _PARTS or any(number is None for number in numbers):
        return list(texts)
    found = np.array(numbers, dtype=np.float64)
    bounds = np.quantile(found, np.arange(1, _PARTS) / _PARTS)
    return list(np.searchsorted(bounds, found))


def as_number(text: str | None) -> float | None:
    """What a swept text means where it is a finite number."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def fanova(sweep: Sweep, jobs: Sequence[JobRow], values: np.ndarray) -> dict[str, float]:
    """Optuna's fANOVA (Hutter et al. 2014) over a copy of the trials in memory, its forest always grown alike.

    Unlike Optuna, a logarithmic axis is weighed by its logarithm, as it was searched.

    Raises:
        UserError: Optuna is not installed.
        ImportError: scikit-learn is not.
    """
    optuna = import_optuna()
    space = read_space(sweep.facts["axes"])
    scales = {key: _scale(axis) for key, axis in space.items()}
    study = optuna.create_study()
    for job, value in zip(jobs, values, strict=True):
        params = {key: _place(axis, job.params[key]) for key, axis in space.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=scales, value=value))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False))


def _scale(axis: Axis) -> "BaseDistribution":
    distributions = import_optuna().distributions
    if isinstance(axis, Choice):
        return distributions.CategoricalDistribution(axis.values)
    low, high = (_place(axis, str(bound)) for bound in (axis.low, axis.high))
    return distributions.FloatDistribution(low, high)


def _place(axis: Axis, text: str) -> str | float:
    if isinstance(axis, Choice):
        return text
    return math.log(float(text)) if axis.log else float(text)


def _sorted(shares: Mapping[str, float]) -> dict[str, float]:
    return {key: float(share) for key, share in sorted(shares.items(), key=lambda pair: -pair[1])}
