"""The order of batches: complete, repeatable, resumable, and short on padding."""

from itertools import chain

import numpy as np
import pytest
import torch

from src.data.sampler import BatchOrder, SortedOrder

LENGTHS = np.random.RandomState(0).randint(1, 201, 1003)


def order(**changes: object) -> BatchOrder:
    settings: dict = {"batch_size": 16, "bucket_batches": 5, "seed": 3}
    return BatchOrder(LENGTHS, **{**settings, **changes})


def rows(batches: BatchOrder | SortedOrder) -> list[list[int]]:
    return [draw.indices.tolist() for draw in batches]


@pytest.mark.parametrize("bucket_batches", [0, 1, 5, 50, 10_000])
@pytest.mark.parametrize("batch_size", [1, 16, 59, 1003, 5000])
def test_an_epoch_hands_out_every_row_once_in_batches_of_the_asked_size(batch_size: int, bucket_batches: int) -> None:
    batches = order(batch_size=batch_size, bucket_batches=bucket_batches)
    found = rows(batches)
    assert sorted(list(chain(*found))) == list(range(1003))
    assert len(batches) == len(found)
    assert {len(batch) for batch in found[:-1]} <= {batch_size}


def test_the_order_depends_on_seed_and_epoch_and_nothing_else() -> None:
    one, other = order(), order()
    for _ in range(3):
        rows(other)  # what was handed out before does not count
    np.random.seed(1)
    torch.manual_seed(1)
    for epoch in (2, 0, 1):
        one.set_epoch(epoch)
        other.set_epoch(epoch)
        assert rows(one) == rows(other)
    assert len({str(rows(order(seed=seed))) for seed in range(5)}) == 5
    assert len({str(order().batches(epoch)) for epoch in range(5)}) == 5


def test_a_frozen_order_is_the_same_in_every_epoch() -> None:
    frozen = order(frozen=True)
    first = rows(frozen)
    frozen.set_epoch(4)
    assert rows(frozen) == first == rows(order())


def test_global_random_numbers_are_left_alone() -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    rows(order())
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == numpy_before


@pytest.mark.parametrize("accumulate", [1, 4])
def test_from_any_position_the_rest_of_the_epoch_is_the_same(accumulate: int) -> None:
    whole = order(accumulate=accumulate)
    whole.set_epoch(2)
    expected = [(draw.indices.tolist(), draw.share) for draw in whole]
    for position in range(len(whole) + 1):
        resumed = order(accumulate=accumulate, position=position)
        resumed.set_epoch(2)
        assert [(draw.indices.tolist(), draw.share) for draw in resumed] == expected[position:]
        assert len(resumed) == len(whole)
        resumed.set_epoch(3)  # the position counts for one epoch only
        assert rows(resumed) == [batch.tolist() for batch in whole.batches(3)]


def test_buckets_save_most_of_the_padding() -> None:
    def padded(batches: BatchOrder) -> int:
        return sum(int(LENGTHS[batch].max()) * len(batch) for batch in batches.batches(0))

    shuffled, bucketed, words = padded(order(bucket_batches=0)), padded(order()), int(LENGTHS.sum())
    assert bucketed - words < 0.3 * (shuffled - words)


def test_lengths_do_not_rise_or_fall_along_the_epoch() -> None:
    batches = order(bucket_batches=10_000).batches(0)[:-1]
    means = [LENGTHS[batch].mean() for batch in batches]
    correlation = np.corrcoef(means, np.arange(len(means)))[0, 1]
    assert abs(correlation) < 0.4  # 62 batches: three standard deviations of chance


def test_the_short_last_batch_is_a_fair_sample() -> None:
    """Cut off a sorted pool it would hold the longest reviews of that pool in every epoch."""
    means = [LENGTHS[order().batches(epoch)[-1]].mean() for epoch in range(60)]
    assert len(order().batches(0)[-1]) == 1003 % 16
    assert abs(np.mean(means) - LENGTHS.mean()) < 9  # 60 batches of 11: sd of the mean 2.3


@pytest.mark.parametrize("limit", [None, 1, 7, 62, 63, 100])
@pytest.mark.parametrize("accumulate", [1, 2, 4, 100])
def test_shares_of_a_window_make_the_mean_of_the_big_batch(accumulate: int, limit: int | None) -> None:
    """Weighted with the shares, the mean losses of micro-batches add up to the mean over the window's rows."""
    loss = np.random.RandomState(1).rand(1003)
    draws = list(order(accumulate=accumulate, limit=limit))[:limit]
    for start in range(0, len(draws), accumulate):
        window = draws[start : start + accumulate]
        assert sum(draw.share for draw in window) == pytest.approx(1)
        parts = sum(draw.share * loss[draw.indices].mean() for draw in window)
        assert parts == pytest.approx(loss[np.concatenate([draw.indices for draw in window])].mean())


def test_evaluation_goes_from_long_to_short_through_every_row() -> None:
    batches = SortedOrder(LENGTHS, batch_size=64)
    found = rows(batches)
    assert sorted(list(chain(*found))) == list(range(1003))
    assert len(found) == len(batches) == 16
    assert (np.diff(LENGTHS[list(chain(*found))]) <= 0).all()
