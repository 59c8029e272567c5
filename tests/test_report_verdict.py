"""What two loss curves mean: over-fitting, under-fitting, a sweet spot, or nothing yet."""

import math

import pytest

from src.report.verdict import judge


def curve(*losses: float) -> dict[float, float]:
    return dict(enumerate(losses, 1))


def said(train: dict[float, float], val: dict[float, float], guessing: float | None = math.log(2)) -> tuple[str, str]:
    verdict = judge(train, val, axis="epoch", guessing=guessing)
    assert verdict is not None
    return verdict.title, verdict.sentences


def test_over_fitting_is_named_with_what_both_losses_did_and_by_how_much():
    """Train 0.40 to 0.10 is -75 %, val 0.50 to 0.70 is +40 %; the gap was 0.10 and becomes 0.60."""
    title, words = said(curve(0.6, 0.4, 0.2, 0.1), curve(0.6, 0.5, 0.6, 0.7))
    assert title == "Over-fitting after epoch 2"
    for part in ("0.400 to 0.100 (-75%)", "0.500 to 0.700 (+40%)", "from +0.100 to +0.600"):
        assert part in words


def test_a_loss_that_still_falls_at_the_end_is_under_fitting():
    """From 0.50 to 0.40 in the last epoch: -20 %."""
    title, words = said(curve(0.7, 0.5, 0.4), curve(0.6, 0.5, 0.4))
    assert title == "Under-fitting, still learning"
    assert "0.500 to 0.400 (-20%) between epoch 2 and 3" in words


def test_a_language_model_still_learns_while_its_last_gain_counts_among_all_its_gains():
    """4.28 to 4.20 is 2 % of the loss, but an eighth of all that was gained."""
    val = curve(4.80, 4.50, 4.28, 4.20)
    assert said({}, val, None)[0] == "Under-fitting, still learning"
    assert said({}, curve(4.80, 4.30, 4.201, 4.20), None)[0] == "Sweet spot at the end"


def test_a_loss_that_has_levelled_off_is_the_sweet_spot():
    """At the end, or before it without harm."""
    assert said(curve(0.6, 0.4, 0.35), curve(0.6, 0.4, 0.3995))[0] == "Sweet spot at the end"
    title, words = said(curve(0.6, 0.4, 0.39), curve(0.6, 0.4, 0.404))
    assert title == "Sweet spot at epoch 2"
    assert "(+1%)" in words


def test_no_better_than_guessing_is_under_fitting():
    """Two classes: ln 2 = 0.693."""
    title, words = said(curve(0.70, 0.69), curve(0.695, 0.690))
    assert title == "Under-fitting"
    assert "0.6900, against 0.6931" in words
    assert said(curve(0.70, 0.69), curve(0.695, 0.690), None)[0] != "Under-fitting"


def test_both_losses_rising_is_not_called_over_fitting():
    """The steps were too large."""
    assert said(curve(0.6, 0.4, 0.5), curve(0.6, 0.4, 0.6))[0] == "Unstable after epoch 2"


def test_a_negative_gap_is_explained():
    """Dropout is on while the training loss is taken."""
    assert "can be negative" in said(curve(0.6, 0.5, 0.45), curve(0.5, 0.40, 0.3999))[1]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_a_divergence(bad):
    """In the epoch where it happened."""
    assert said(curve(0.5, 0.4, bad), curve(0.5, 0.4)) == ("Diverged", "The loss stopped being a number in epoch 3.")


def test_one_validation_says_little_and_none_says_nothing():
    """But the gap is there."""
    title, words = said(curve(0.30), curve(0.35))
    assert title == "Too short to tell"
    assert "+0.050" in words
    assert judge(curve(0.5), {}, axis="epoch") is None
