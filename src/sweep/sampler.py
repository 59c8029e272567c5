"""How the next point of a search is drawn, as a pure function of the seed, its number and what is known of the others.

Each point is drawn in a copy of the study in memory, by a sampler of its own: a search that is killed and resumed draws
what it would have drawn, and what was drawn in vain leaves no trace in the study.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from src.errors import UserError
from src.sweep.axes import Axis, Choice, Real
from src.sweep.settings import named
from src.sweep.storage import import_optuna

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

KEY = "hydra.sweeper.sampler"


class Point(NamedTuple):
    """params: value by key. notes: what the sampler wants to know of this trial later (its generation)."""

    params: dict[str, Any]
    notes: dict[str, Any]


def tpe(*, seed: int, startup: int) -> "BaseSampler":
    """Tree-structured Parzen estimator, all axes together, after `startup` random points."""
    # Running trials count as bad ones, so that parallel jobs do not all try the same.
    return import_optuna().samplers.TPESampler(
        seed=seed, n_startup_trials=startup, multivariate=True, constant_liar=True
    )


def random(*, seed: int) -> "BaseSampler":
    """Evenly, whatever came out so far."""
    return import_optuna().samplers.RandomSampler(seed=seed)


def nsgaii(*, seed: int, population: int) -> "BaseSampler":
    """Genetic, for several objectives: generations of `population` points, the first of them random."""
    if population < 2:
        raise UserError(f"{KEY}.population ({population}) must be 2 or more.")
    return import_optuna().samplers.NSGAIISampler(seed=seed, population_size=population)


def cmaes(*, seed: int, startup: int) -> "BaseSampler":
    """Covariance matrix adaptation, for numbers alone, after `startup` random points."""
    if find_spec("cmaes") is None:
        raise UserError(
            f"{KEY}.name (cmaes) needs the package cmaes: pip install cmaes. Without it, tpe is the choice."
        )
    return import_optuna().samplers.CmaEsSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)


SAMPLERS: dict[str, Callable[..., "BaseSampler"]] = {"tpe": tpe, "random": random, "nsgaii": nsgaii, "cmaes": cmaes}


def check_sampler(settings: Mapping[str, Any], space: Mapping[str, Axis], objectives: Sequence[str]) -> None:
    """Refuse what the sampler cannot do.

    Raises:
        UserError: settings that are no sampler's, or a space or objectives that it is not made for.
    """
    named(settings, SAMPLERS, key=KEY, seed=0)
    if settings["name"] != "cmaes":
        return
    words = [key for key, axis in space.items() if isinstance(axis, Choice)]
    if words:
        raise UserError(f"{KEY}.name (cmaes) draws numbers, and {words[0]} is a choice; use tpe.")
    if len(space) < 2 or len(objectives) > 1:
        raise UserError(f"{KEY}.name (cmaes) needs two axes or more and one objective; use tpe, or nsgaii.")


def draw(
    trials: Sequence["FrozenTrial"],
    space: Mapping[str, Axis],
    *,
    directions: Sequence[str],
    settings: Mapping[str, Any],
    seed: Sequence[int],
) -> Point:
    """The point after `trials`, numbered from 0 without a gap. seed: whole numbers that tell all draws apart."""
    optuna = import_optuna()
    drawn = int(np.random.SeedSequence(seed).generate_state(1)[0])
    study = optuna.create_study(directions=directions, sampler=named(settings, SAMPLERS, key=KEY, seed=drawn))
    study.add_trials(trials)
    trial = study.ask({key: distribution(axis) for key, axis in space.items()})
    values = {
        key: axis.round(trial.params[key]) if isinstance(axis, Real) else trial.params[key]
        for key, axis in space.items()
    }
    return Point(values, study.trials[-1].system_attrs)


def distribution(axis: Axis) -> "BaseDistribution":
    """The axis in Optuna's words."""
    distributions = import_optuna().distributions
    if isinstance(axis, Choice):
        return distributions.CategoricalDistribution(axis.values)
    if isinstance(axis, Real):
        return distributions.FloatDistribution(axis.low, axis.high, log=axis.log)
    return distributions.IntDistribution(axis.low, axis.high, step=axis.step, log=axis.log)
