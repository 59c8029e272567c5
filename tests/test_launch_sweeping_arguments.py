"""A grid is what Hydra's own sweeper makes of the same words, and what cannot be one is refused in a sentence."""

import itertools

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from src.errors import UserError
from src.launch.sweeping.arguments import grid, take_apart, values_of
from src.launch.sweeping.searching import join

PARSER = OverridesParser.create()


@pytest.mark.parametrize(
    "words",
    [
        ["seed=1,2,3", "data=demo", "optimizer.lr=1e-3,1e-4"],
        ["optimizer=adam,sgd", "+model.extra='a,b'", "seed=range(1,4)"],
        ["tags=[a,b],[c]", "model.hidden=choice(64,128)", "seed=7"],
        ["seed=sort(3,1,2)", "monitor=val/loss,val/f1"],
        ["seed=1"],
        ["trainer.max_epochs=1", "seed=1,2", "trainer.max_epochs=3"],
    ],
)
def test_the_jobs_are_those_of_hydras_sweeper(words):
    typed = take_apart(words)
    jobs = [(*typed.fixed, *alone) for alone in grid(values_of(typed.axes, parser=PARSER))]
    (theirs,) = BasicSweeper.split_arguments(PARSER.parse_overrides(words), None)
    assert len(jobs) == len(theirs)
    for job, other in zip(jobs, theirs, strict=True):
        # A key that is typed twice has its last value.
        assert values(job) == values(other)


def values(overrides):
    parsed = PARSER.parse_overrides(list(overrides))
    return {override.get_key_element(): override.get_value_element_as_str() for override in parsed}


def test_the_last_axis_is_the_fastest():
    assert grid({"a": ["1", "2"], "b": ["x", "y"]}) == list(
        itertools.product(("a=1", "a=2"), ("b=x", "b=y")),
    )


def test_what_is_not_an_axis_stays_as_it_was_typed():
    """Hydra's sweeper writes deletions as `~key=`."""
    words = ["~callbacks.early_stopping", "+x='a, b'", "data.path=../a b"]
    assert take_apart([*words, "seed=1,2", "resume=auto", "dry_run=true"]).fixed == tuple(words)
    assert take_apart(["resume=auto", "dry_run=true"]) == take_apart(["dry_run=True", "resume=auto"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["optimizer.lr=interval(1e-4,1e-2)"], r"optimizer.lr \(interval\(1e-4,1e-2\)\) has no list of values"),
        (["seed=1,2,1"], r"seed \(1,2,1\) has 1 twice"),
        (["resume=auto,must"], r"resume=auto,must: a sweep has one resume"),
        (["hparams_search=a,b"], r"a sweep has one hparams_search"),
        (["seed=1,2", "seed=3"], r"seed=3 is typed twice"),
        (["seed=1,2", "seed=3,4"], r"seed=3,4: seed has several values already"),
        (["optimizer.lr=1,2", "++optimizer.lr=3,4"], r"optimizer.lr has several values already"),
        (["optimizer.lr=1,2", "++optimizer.lr=3"], r"optimizer.lr=3 is typed twice"),
        (["dry_run=yes"], r"dry_run \(yes\) must be true or false"),
    ],
)
def test_what_is_no_grid_is_refused(words, sentence):
    with pytest.raises(UserError, match=sentence):
        values_of(take_apart(words).axes, parser=PARSER)


def test_a_typed_axis_replaces_the_same_key_of_the_space_however_it_is_written():
    space = {"optimizer.lr": "log(1e-4, 1e-2)", "model.hidden": "int(8, 16)"}
    typed = take_apart(["++optimizer.lr=1e-3,2e-3", "model.hidden=8"])
    assert join(space, typed) == {"++optimizer.lr": "1e-3,2e-3"}
