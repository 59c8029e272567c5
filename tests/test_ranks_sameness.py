"""Two processes train and measure what one does; see tests/rank_scenarios.py for what each scenario is.

Tolerances. Ranks add up their halves of a sum, one process adds up the whole, so results differ by rounding: 1e-16 per
sum in float64, which a few dozen steps of momentum grow to 1e-13 at most, and 6e-8 in float32, which stays below 1e-6
for a dozen (a sampled softmax is in float32 in any precision). Where one process is given the very micro-batches of the
ranks, the sums are the same and so is every bit.
"""

import pytest
import torch

from tests.rank_scenarios import SCENARIOS, start

TRAINED = [name for name in SCENARIOS if not name.endswith(("measured", "measured_by_one", "in_turns"))]
FLOAT32 = ("bilstm", "bilstm_adam", "transformer", "both_directions")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Name of a scenario to what one process has come to, and each of two."""
    folder = tmp_path_factory.mktemp("ranks")
    ranks = start(folder, 2)
    return {name: (train(folder, 1), *(rank[name] for rank in ranks)) for name, train in SCENARIOS.items()}


def furthest(one, other):
    """The largest difference between two sets of weights."""
    return max(float((one[name] - other[name]).abs().max()) for name in one | other)


@pytest.mark.parametrize("name", TRAINED)
def test_two_processes_train_the_weights_of_one(found, name):
    one, first, second = found[name]
    assert furthest(one["weights"], first["weights"]) < (1e-6 if name in FLOAT32 else 1e-13)
    assert furthest(first["weights"], second["weights"]) == 0
    assert one["steps"] == first["steps"] == second["steps"] > 0


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name.endswith("in_turns")])
def test_given_the_micro_batches_of_two_processes_one_trains_the_same_bits(found, name):
    one, first, second = found[name]
    assert one["steps"] == first["steps"] > 0
    assert furthest(one["weights"], first["weights"]) == furthest(one["weights"], second["weights"]) == 0


# Without bilstm_skip: one process leaves out all rows of the bad batch, two leave out those of the rank that had it.
@pytest.mark.parametrize("name", [name for name in TRAINED if name != "bilstm_skip"])
def test_the_training_loss_is_the_mean_over_the_rows_of_all_ranks(found, name):
    one, first, second = found[name]
    key = "train/sampled_loss" if name == "both_directions" else "train/loss"
    # Sums of a classifier are in float32.
    assert first["train"][key] == second["train"][key] == pytest.approx(one["train"][key], abs=1e-6)


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("name", ["bilstm_measured", "bilstm_measured_by_one", "transformer_measured"])
def test_what_is_measured_is_equal_to_the_bit(found, name, split):
    one, first, second = found[name]
    assert one[split] == first[split] == second[split]
    assert one[split]


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("name", ["bilstm_measured", "bilstm_measured_by_one"])
def test_predictions_are_those_of_one_process_in_its_order_of_rows(found, name, split):
    one, *ranks = (result[f"{split}_predictions"] for result in found[name])
    assert len(set(one["rows"].tolist())) == len(one["rows"]) == 10
    for rank in ranks:
        assert {key: value.tolist() for key, value in rank.items()} == {key: one[key].tolist() for key in one}


@pytest.mark.parametrize("name", TRAINED)
def test_the_epochs_of_both_ranks_hold_the_rows_of_one(found, name):
    """What throughput counts: a row that a rank repeats for want of its own does not."""
    (batches, examples), first, second = (result["counted"] for result in found[name])
    assert first[0] == second[0] == batches
    assert first[1] + second[1] == examples


def test_a_loss_that_one_rank_sees_stops_or_skips_the_step_on_all(found):
    one, first, second = found["bilstm_skip"]
    assert one["skipped"] == first["skipped"] == second["skipped"] == 2  # one in each epoch


def test_the_norm_that_is_clipped_is_that_of_the_whole_gradient(found):
    one, first, _ = found["bilstm_one_row"]
    assert first["train"]["train/gradient_norm"] == pytest.approx(one["train"]["train/gradient_norm"], rel=1e-12)


def test_the_scenarios_have_the_odd_sizes_they_are_about(found):
    """Batches of 6 rows a rank: the last one has 1 on each, or 1 on the first and none on the second."""
    assert [result["counted"] for result in found["bilstm"]] == [(7, 74), (7, 37), (7, 37)]
    assert [result["counted"] for result in found["bilstm_one_row"]] == [(7, 73), (7, 37), (7, 36)]
    weights = found["bilstm"][1]["weights"]
    assert torch.isfinite(torch.cat([value.flatten() for value in weights.values()])).all()
