"""Guesses at mistyped names."""

import pytest

from src.check.nearest import LISTED, nearest, suggestion

NAMES = ["lr", "weight_decay", "betas", "max_epochs", "min_epochs"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lrr", "lr"),
        ("LR", "lr"),
        ("learning_rate", "lr"),
        ("wd", "weight_decay"),
        ("weight-decay", "weight_decay"),
        ("max_epoch", "max_epochs"),
        ("zzz", None),
        ("", None),
    ],
)
def test_the_guess_is_the_name_near_in_spelling_or_initials(typed: str, meant: str | None) -> None:
    assert nearest(typed, NAMES) == meant


def test_a_short_list_is_shown_whole_and_a_long_one_only_where_there_is_no_guess() -> None:
    many = [f"name_{number}" for number in range(LISTED + 1)]
    assert suggestion("lrr", NAMES, prefix="optimizer.").startswith(
        "; did you mean optimizer.lr? Legal: lr, weight_decay"
    )
    assert "Legal" not in suggestion("name_x", many)
    assert all(name in suggestion("zzz", many) for name in many)


def test_a_guess_is_always_one_of_the_legal_names() -> None:
    typed = [name[:cut] + name[cut + 1 :] for name in NAMES for cut in range(len(name))]
    assert {nearest(name, NAMES) for name in typed} <= {*NAMES, None}
    assert sum(nearest(name, NAMES) is not None for name in typed) >= len(typed) - 2
