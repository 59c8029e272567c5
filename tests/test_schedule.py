"""Schedules against closed forms, and against what the optimizer really used."""

import itertools
import math

import pytest
import torch

from src.errors import UserError
from src.schedule import warmup_cosine, warmup_linear, wsd
from src.schedule.constant import constant
from src.schedule.plateau import plateau
from src.schedule.warmup import count_steps

TOTAL = 20


def rates(schedule, **settings):
    """The learning rate of each of the TOTAL optimizer steps, peak 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = schedule(optimizer, total_steps=TOTAL, **settings)["scheduler"]
    used = []
    for _ in range(TOTAL):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return used, optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize(
    "schedule", [constant, warmup_cosine.warmup_cosine, warmup_linear.warmup_linear, wsd.wsd], ids=lambda s: s.__name__
)
def test_warmup_as_a_fraction_is_the_same_as_its_count(schedule):
    by_count, _ = rates(schedule, warmup=4)
    by_share, _ = rates(schedule, warmup=0.2)
    assert by_count == by_share
    assert by_count[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_cosine_ends_at_its_floor_and_is_halfway_in_the_middle():
    used, after = rates(warmup_cosine.warmup_cosine, warmup=0, floor=0.1)
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * step / TOTAL)) / 2 for step in range(TOTAL)]
    assert used == pytest.approx(expected)
    assert used[TOTAL // 2] == pytest.approx(0.55)
    assert after == pytest.approx(0.1)


def test_linear_falls_by_the_same_amount_each_step():
    used, after = rates(warmup_linear.warmup_linear, warmup=4)
    falls = [a - b for a, b in itertools.pairwise(used[4:])]
    assert falls == pytest.approx([1 / 16] * 15)
    assert after == pytest.approx(0.0)


def test_wsd_stays_at_the_peak_until_the_decay():
    used, after = rates(wsd.wsd, warmup=2, decay=0.25)
    assert used[2:15] == [1.0] * 13
    assert used[15:] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert after == pytest.approx(0.0)


def test_the_first_step_is_never_taken_at_rate_zero():
    used, _ = rates(warmup_cosine.warmup_cosine, warmup=0.5)
    assert used[0] == pytest.approx(0.1)


def test_plateau_halves_the_rate_after_patience():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    entry = plateau(optimizer, total_steps=TOTAL, monitor="val/f1", mode="max", patience=1)
    assert (entry["monitor"], entry["interval"]) == ("val/f1", "epoch")
    for score in (0.5, 0.6, 0.6, 0.6):
        entry["scheduler"].step(score)
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("value", [-1, -0.1, 21, 1.5])
def test_a_warmup_outside_the_run_is_refused_with_its_value(value):
    with pytest.raises(UserError, match=rf"schedule.warmup \({value}\).*{TOTAL} optimizer steps"):
        count_steps(value, total_steps=TOTAL, key="schedule.warmup")


def test_wsd_refuses_a_warmup_and_decay_that_overlap():
    with pytest.raises(UserError, match="together exceed"):
        rates(wsd.wsd, warmup=0.6, decay=0.6)
