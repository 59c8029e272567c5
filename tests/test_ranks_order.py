"""N ranks with B rows each read what one process with N x B rows reads, and weigh it the same, for many sizes."""

from fractions import Fraction
from itertools import chain, product
from types import SimpleNamespace

import lightning
import numpy as np
import pytest

from src.data.loading import follow, readers_of
from src.data.passages import TargetOrder
from src.data.sampler import ALONE, BatchOrder, Readers, SortedOrder
from src.strategy.ddp import DataParallel

WORLDS = (1, 2, 3, 4, 8)
ROWS = (1, 2, 7, 8, 23, 24, 25, 97)


def lengths(rows):
    return np.random.RandomState(rows).randint(2, 30, rows)


def orders(kind, rows, world, *, batch_size, **settings):
    """The order of each rank, and that of one process with batches as large as all of theirs."""
    settings = {"seed": 3} | settings
    each = [kind(lengths(rows), batch_size=batch_size, readers=Readers(world, r), **settings) for r in range(world)]
    return each, kind(lengths(rows), batch_size=batch_size * world, **settings)


@pytest.mark.parametrize("kind", [BatchOrder, TargetOrder])
@pytest.mark.parametrize("world", WORLDS)
def test_ranks_take_every_nth_row_of_the_batches_of_one_process(world, kind):
    for rows, size, buckets in product(ROWS, (1, 3, 8), (0, 2)):
        ranks, one = orders(kind, rows, world, batch_size=size, bucket_batches=buckets)
        for order in (*ranks, one):
            order.set_epoch(2)
        found = [list(order) for order in ranks]
        assert {len(order) for order in ranks} == {len(draws) for draws in found} == {len(one)}
        for number, whole in enumerate(one):
            draws = [draws[number] for draws in found]
            assert all(draw.epoch == whole.epoch == 2 for draw in draws)
            counted = [draw.indices.tolist() if draw.counts else [] for draw in draws]
            assert counted == [whole.indices[rank::world].tolist() for rank in range(world)]
            assert sorted(chain(*counted)) == sorted(whole.indices.tolist())
            # A rank that has nothing repeats one row of the batch.
            assert all(len(draw.indices) == 1 and draw.indices[0] in whole.indices for draw in draws if not draw.counts)


@pytest.mark.parametrize("kind", [BatchOrder, TargetOrder])
@pytest.mark.parametrize("world", WORLDS)
def test_shares_are_the_exact_parts_of_a_window_over_all_ranks(world, kind):
    """rows or targets of the batch / those of the window on all ranks, times the ranks; rounded once."""
    for rows, accumulate, limit in product(ROWS, (1, 2, 5), (None, 1, 4)):
        settings = {"batch_size": 3, "bucket_batches": 2, "accumulate": accumulate, "limit": limit}
        ranks, one = orders(kind, rows, world, **settings)
        found, last = [list(order) for order in ranks], len(one) if limit is None else min(limit, len(one))
        for first in range(0, last, accumulate):
            window = [draws[first : min(first + accumulate, last)] for draws in found]
            weights = [[draw.counts * one.weight(draw.indices) for draw in draws] for draws in window]
            total = sum(map(sum, weights))
            for draws, parts in zip(window, weights, strict=True):
                assert [draw.share for draw in draws] == [float(Fraction(world * part, total)) for part in parts]
            assert sum(chain(*weights)) == sum(one.weight(batch) for batch in one.batches(0)[first : first + accumulate]
                                               [: last - first])  # fmt: skip


@pytest.mark.parametrize("world", WORLDS)
def test_averaged_over_ranks_the_shares_make_the_mean_of_the_whole_window(world):
    loss = np.random.RandomState(1).rand(97)
    ranks, _ = orders(BatchOrder, 97, world, batch_size=5, bucket_batches=2, accumulate=3)
    found = [list(order) for order in ranks]
    for first in range(0, len(found[0]), 3):
        draws = [draw for draws in found for draw in draws[first : first + 3]]
        rows = np.concatenate([draw.indices for draw in draws if draw.counts])
        averaged = sum(draw.share * loss[draw.indices].mean() for draw in draws) / world
        assert averaged == pytest.approx(loss[rows].mean(), rel=1e-14)


@pytest.mark.parametrize("world", WORLDS)
def test_every_rank_goes_on_from_any_batch(world):
    ranks, _ = orders(BatchOrder, 97, world, batch_size=3, bucket_batches=2, accumulate=2)
    for order in ranks:
        whole = [(draw.indices.tolist(), draw.share, draw.counts) for draw in order]
        for position in range(len(order) + 1):
            order.position = position
            assert [(draw.indices.tolist(), draw.share, draw.counts) for draw in order] == whole[position:]


@pytest.mark.parametrize("world", WORLDS)
def test_ranks_take_turns_at_the_batches_of_an_evaluation_and_no_row_comes_twice(world):
    """The batches are those of one process with the same batch_size, so every row has the same neighbours there."""
    for rows, size in product(ROWS, (1, 3, 8, 100)):
        one = [draw.indices.tolist() for draw in SortedOrder(lengths(rows), batch_size=size)]
        ranks = [SortedOrder(lengths(rows), batch_size=size, readers=Readers(world, rank)) for rank in range(world)]
        found = [list(order) for order in ranks]
        assert {len(draws) for draws in found} == {len(order) for order in ranks} == {-(-len(one) // world)}
        in_turns = [draw.indices.tolist() for turn in zip(*found, strict=True) for draw in turn if draw.counts]
        assert in_turns == one
        assert all(len(draw.indices) == 1 for draws in found for draw in draws if not draw.counts)


@pytest.mark.parametrize("turns", [1, 2])
@pytest.mark.parametrize("world", WORLDS)
def test_the_first_turns_are_the_longest_rows_for_any_number_of_ranks(world, turns):
    """limit_val_batches counts turns, so N ranks see the rows of one process with N times the batch."""
    ranks = [SortedOrder(lengths(97), batch_size=3, readers=Readers(world, rank)) for rank in range(world)]
    seen = {row for order in ranks for draw in list(order)[:turns] if draw.counts for row in draw.indices.tolist()}
    large = SortedOrder(lengths(97), batch_size=3 * world)
    assert seen == {row for draw in list(large)[:turns] for row in draw.indices.tolist()}


def fake_trainer(kwargs, **changes):
    settings = {"limit_train_batches": 1.0, "accumulate_grad_batches": 1, "overfit_batches": 0.0} | changes
    return SimpleNamespace(distributed_sampler_kwargs=kwargs, **settings)


def test_a_part_of_an_epoch_is_a_part_of_the_batches_that_a_rank_sees():
    """97 rows on 4 ranks of 3 are 9 batches; half of them are 4, as Lightning counts."""
    trainer = fake_trainer({"num_replicas": 4, "rank": 1}, limit_train_batches=0.5)
    order = follow(BatchOrder(lengths(97), batch_size=3, bucket_batches=0, seed=0), trainer)
    assert (len(order), order.limit, order.readers) == (9, 4, Readers(4, 1))


def test_only_the_strategy_says_who_reads_what():
    alone = lightning.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    assert readers_of(alone) == ALONE
    several = lightning.Trainer(
        accelerator="cpu", devices=2, strategy=DataParallel(), logger=False, enable_checkpointing=False
    )
    assert readers_of(several) == Readers(size=2, rank=0)
