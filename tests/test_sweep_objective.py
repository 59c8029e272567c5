"""Only numbers that a run measures, and never the test split, are searched for; what is no number is no value."""

import pytest

from src.errors import UserError
from src.sweep.objective import check_objectives, measure

KNOWN = ["val/loss", "val/f1"]
BOTH = {"val/f1": "maximize", "parameters": "minimize"}


def test_metrics_of_val_and_costs_may_be_searched_for():
    check_objectives({**BOTH, "seconds": "minimize"}, known=KNOWN)


@pytest.mark.parametrize(
    ("objectives", "words"),
    [
        ({}, "is empty"),
        ({"test/acc": "maximize"}, "the test split is not for choosing"),
        ({"val/f2": "maximize"}, r"does not measure.*Did you mean val/f1\?"),
        ({"val/f1": "max"}, "must be minimize or maximize"),
    ],
)
def test_wrong_objectives_are_refused(objectives, words):
    with pytest.raises(UserError, match=words):
        check_objectives(objectives, known=KNOWN)


def test_a_result_has_all_objectives_or_none():
    assert measure({"val/f1": 0.5, "parameters": 7, "val/loss": None}, BOTH).values == (0.5, 7.0)
    assert measure({"val/f1": 0.5}, BOTH) == (None, "result.json has no number parameters")
    assert measure({"val/f1": None, "parameters": 7}, BOTH).values is None
    assert measure({"val/f1": True, "parameters": 7}, BOTH).values is None
    assert measure({"val/f1": float("nan"), "parameters": 7}, BOTH) == (None, "val/f1 is nan")
    assert measure(None, BOTH).values is None
