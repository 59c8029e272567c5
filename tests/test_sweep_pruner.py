"""Our pruners decide as Optuna's do, and the same again when they are asked again."""

import random

import optuna
import pytest

from src.errors import UserError
from src.sweep.pruner import Curve, Halving, Median, check_pruned, make_pruner

STEPS = 9


def decisions(judge, theirs, *, direction, seed, at_once):
    """[(trial, step, ours, Optuna's)] of 20 random curves, `at_once` of them trained side by side."""
    draw = random.Random(seed)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=direction, pruner=theirs)
    found, alive, left = [], [], 20
    while left or alive:
        while left and len(alive) < at_once:
            alive.append((study.ask(), []))
            left -= 1
        trial, own = draw.choice(alive)
        own.append(round(draw.random(), 2))
        trial.report(own[-1], len(own))
        others = [
            Curve(values=dict(other.intermediate_values), finished=other.state.name == "COMPLETE")
            for other in study.trials
            if other.number != trial.number
        ]
        ours = judge(own, others, maximize=direction == "maximize")
        assert ours == judge(own, others, maximize=direction == "maximize")
        found.append((trial.number, len(own), ours is not None, trial.should_prune()))
        if found[-1][3] or len(own) == STEPS:
            state = optuna.trial.TrialState.PRUNED if found[-1][3] else None
            study.tell(trial, None if state else own[-1], state=state)
            alive.remove((trial, own))
    return found


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("at_once", [1, 4])
def test_the_median_is_optunas(direction, at_once):
    theirs = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=3)
    found = decisions(Median(startup=3, warmup=2).judge, theirs, direction=direction, seed=at_once, at_once=at_once)
    assert [entry for entry in found if entry[2] != entry[3]] == []
    assert 0 < sum(entry[2] for entry in found) < len(found)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(("at_once", "factor"), [(1, 2), (4, 3)])
def test_successive_halving_is_optunas(direction, at_once, factor):
    theirs = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor)
    ours = Halving(first=1, factor=factor)
    found = decisions(ours.judge, theirs, direction=direction, seed=at_once, at_once=at_once)
    assert [entry for entry in found if entry[2] != entry[3]] == []
    assert 0 < sum(entry[2] for entry in found) < len(found)


def test_the_reason_says_what_was_compared_with_what():
    others = [Curve(values={1: value}, finished=True) for value in (0.2, 0.4, 0.6)]
    words = Median(startup=3, warmup=0).judge([0.5], others, maximize=False)
    assert words == "0.5000 after validation 1 is worse than 0.4000, the median of 3 finished trials"
    words = Halving(first=1, factor=2).judge([0.5], others, maximize=False)
    assert words == "0.5000 after validation 1 is worse than 0.4000, place 2 of 4 trials"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "best"}, "must be one of median, halving"),
        ({"startup": 1}, "must be one of median, halving"),
        ({"name": "median", "startup": 5}, r"warmup is missing.*hydra/sweeper/pruner=median"),
        ({"name": "median", "startup": 5, "warmup": 1, "first": 1}, "first .* is not a setting of median"),
        ({"name": "median", "startup": -1, "warmup": 1}, "must be a whole number >= 0"),
        ({"name": "halving", "first": 0, "factor": 3}, "must have first >= 1"),
        ({"name": "halving", "first": 1, "factor": 1}, "factor >= 2"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        make_pruner(settings)


def test_a_pruner_needs_one_metric_of_val():
    check_pruned(["val/loss"])
    with pytest.raises(UserError, match="needs one objective, and there are 2"):
        check_pruned(["val/loss", "seconds"])
    with pytest.raises(UserError, match="and not seconds"):
        check_pruned(["seconds"])
    assert make_pruner({}) is None
