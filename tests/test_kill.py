"""Runs that are killed again and again end as one that is left alone; the long version is `python -m tests.kill`."""

import random
import signal
from collections import Counter

import numpy as np
import pytest
import torch

from src.callbacks.step_seed import StepSeed
from tests.corrupt import damage_each, damage_newest
from tests.events import Event, compare_pieces
from tests.kill import Tally, chains, check, left_alone
from tests.legs import MODELS, new_run
from tests.same_run import timeless, unequal


@pytest.mark.parametrize("model", MODELS)
def test_a_run_killed_at_random_times_ends_as_one_left_alone(tmp_path, model):
    """Losses, rows, validations, the final state, metrics.csv, result, predictions, one look at test: to the bit."""
    tally = chains(tmp_path, model, kills=5)
    assert tally.problems == []
    assert tally.kills.total() == 5
    assert tally.batches >= 18


def test_the_comparison_finds_a_run_that_does_not_repeat_itself(tmp_path, monkeypatch):
    """Without the seed of each batch dropout differs in every process; nothing else is changed."""
    monkeypatch.setattr(StepSeed, "on_train_batch_start", lambda *_: None)
    whole = left_alone(new_run(tmp_path / "alone", "bilstm", "trainer.max_epochs=1"))
    run, tally = new_run(tmp_path / "killed", "bilstm", "trainer.max_epochs=1"), Tally()
    assert run.begin(death=("rename manifest.json", 2)).wait() == -signal.SIGKILL
    assert run.begin().wait() == 0
    check(run, whole, tally)
    assert {"batch", "end"} <= {what for what, _ in tally.problems}


def test_every_damage_is_found_and_a_run_goes_on_from_the_checkpoint_before(tmp_path):
    """20 random bits of a state of a real run and every other kind of damage; then one between kill and resume."""
    whole = left_alone(new_run(tmp_path / "alone", "bilstm"))
    counts = damage_each(whole.run, flips=20, seed=0)
    assert {name: times for name, (times, _) in counts.items()} == {name: found for name, (_, found) in counts.items()}
    run, tally, damaged = new_run(tmp_path / "killed", "bilstm"), Tally(), Counter()
    assert run.begin(death=("fsync checkpoints", 4)).wait() == -signal.SIGKILL
    damage_newest(random.Random(0), damaged)(run)
    assert run.begin().wait() == 0, run.terminal.read_text()
    check(run, whole, tally)
    assert (tally.problems, damaged.total()) == ([], 1)


def events(*places):
    return [Event("validation" if place.startswith("v") else "batch", place, "0x1") for place in places]


WHOLE = events("1", "2", "v2", "3", "4", "v4")


@pytest.mark.parametrize(
    ("pieces", "problems"),
    [
        ([WHOLE], []),
        ([WHOLE[:3], [], WHOLE[1:5], WHOLE[3:]], []),
        ([WHOLE[:2], WHOLE[3:]], ["lost validation"]),
        ([WHOLE[:4], WHOLE[3:5]], ["lost validation"]),
        ([WHOLE[:4], events("2", "3", "4", "v4")], ["order", "order", "order", "lost batch", "lost validation"]),
        ([WHOLE[:3], WHOLE[3:5], events("v9")], ["order", "lost validation"]),
        ([WHOLE[:4], [WHOLE[3]._replace(value="0x2"), *WHOLE[4:]]], ["batch"]),
        ([[*WHOLE, *events("5")]], ["order"]),
    ],
)
def test_pieces_must_make_the_whole_run(pieces, problems):
    """The fifth: a validation that an earlier process ran must be run again with the steps before it."""
    assert [what for what, _ in compare_pieces(WHOLE, pieces)] == problems


def test_a_single_bit_makes_two_states_unequal_and_clocks_do_not():
    state = {"w": torch.tensor([0.1, 0.2]), "a": [np.zeros(2), {"settings": {"name": "time/x"}}], "seconds": 1.0}
    other = {"w": torch.tensor([0.1, 0.2]), "a": [np.zeros(2)], "seconds": 2.0}
    assert unequal(timeless(state), timeless(other)) == []
    other["w"].view(torch.int32)[1] += 1
    other["a"][0] = np.zeros(2, dtype=np.float32)
    assert [words.split()[0] for words in unequal(timeless(state), timeless(other))] == [".w", ".a[0]"]
    assert unequal({"a": 1}, {"b": 1})
    assert unequal([1], [1, 2])
    assert unequal(1, True)
