"""Blocks cut from a stream of documents, against the stream written out as a list."""

from itertools import chain, pairwise

import numpy as np
import pytest

from src.data.blocks import PackedView
from src.data.cache_files import TokenCache
from src.data.corpus import Side
from src.data.sampler import BatchOrder, Draw

TOKEN_BYTES = np.array([0, *range(1, 100)])


def side(count: int, seed: int) -> Side:
    """Documents that each begin with 0; every second row is on the side."""
    draw = np.random.RandomState(seed)
    rows = [[0, *draw.randint(1, 100, draw.choice([0, 1, 3, 9, 40]))] for _ in range(count)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    numbers = np.array(list(chain(*rows)), dtype=np.int32)
    tokens = TokenCache([], numbers, offsets, np.zeros(count, int), np.arange(count, dtype=np.uint64), {})
    return Side(tokens, np.arange(1, count, 2))


def documents(*sides: Side) -> list[list[int]]:
    return [
        part.tokens.numbers[part.tokens.offsets[row] : part.tokens.offsets[row + 1]].tolist()
        for part in sides
        for row in part.rows
    ]


def view(*sides: Side, length: int = 8, seed: int | None = None) -> PackedView:
    return PackedView(sides, length=length, token_bytes=TOKEN_BYTES, seed=seed)


def every(packed: PackedView, epoch: int = 0) -> Draw:
    return Draw(np.arange(len(packed)), 1.0, epoch)


@pytest.mark.parametrize("length", [1, 2, 8, 37, 10_000])
def test_every_token_and_every_end_is_a_target_once_and_in_order(length: int) -> None:
    sides = [side(60, 0), side(30, 1)]
    packed = view(*sides, length=length)
    block = packed[every(packed)]
    stream = [*chain(*documents(*sides)), 0]
    counted = block.targets != -100
    assert block.targets[counted].tolist() == stream[1:]
    assert block.ids[counted].tolist() == stream[:-1]
    assert int(block.num_tokens) == packed.num_tokens == len(stream) - 1 == packed.lengths.sum()
    assert (counted.sum(1).numpy() == packed.lengths).all()
    assert block.num_examples == len(packed)
    assert block.ids[~counted].eq(0).all()


def test_targets_are_ids_shifted_by_one_also_from_block_to_block() -> None:
    packed = view(side(200, 0), seed=3)
    block = packed[every(packed, epoch=2)]
    assert block.targets[:, :-1].equal(block.ids[:, 1:])
    assert block.targets[:-1, -1].equal(block.ids[1:, 0])
    assert (block.targets != -100).all()


@pytest.mark.parametrize("seed", [None, 3])
def test_documents_are_numbered_from_0_in_each_row_and_rise_with_each_end(seed: int | None) -> None:
    packed = view(side(200, 0), seed=seed)
    block = packed[every(packed)]
    for ids, numbers, targets in zip(block.ids.tolist(), block.documents.tolist(), block.targets.tolist(), strict=True):
        expected = [0]
        for token in ids[1:]:
            expected.append(expected[-1] + (token == 0))
        real = sum(target != -100 for target in targets)
        assert numbers[:real] == expected[:real]
        assert set(numbers[real:]) <= {expected[real - 1] + 1}  # padding is a document of its own
    assert block.documents.max() > 1


def test_bytes_are_those_of_the_counted_targets() -> None:
    packed = view(side(60, 0))
    parts = [packed[Draw(np.array([number]), 1.0)] for number in range(len(packed))]
    assert sum(int(part.num_bytes) for part in parts) == sum(TOKEN_BYTES[ids].sum() for ids in documents(side(60, 0)))
    for part in parts:
        assert int(part.num_bytes) == sum(TOKEN_BYTES[token] for token in part.targets[part.targets >= 0].tolist())


def test_an_epoch_shuffles_whole_documents_and_drops_less_than_a_block() -> None:
    sides = [side(300, 0), side(100, 1)]
    packed = view(*sides, seed=3)
    block = packed[every(packed, epoch=1)]
    stream = block.ids.flatten().tolist()
    starts = [place for place, token in enumerate(stream) if token == 0]
    found = [tuple(stream[a:b]) for a, b in pairwise(starts)]
    expected = [tuple(ids) for ids in documents(*sides)]
    assert found != expected[: len(found)]
    left = expected.copy()
    for ids in found:
        left.remove(ids)
    assert 0 <= packed.num_tokens - block.ids.numel() < 8
    assert len(left) <= 1 + 8


def test_the_packing_depends_on_seed_and_epoch_and_nothing_else() -> None:
    one, other = view(side(100, 0), seed=3), view(side(100, 0), seed=3)
    for epoch in (5, 2, 0):
        other[every(other, epoch)]  # what was handed out before does not count
    for epoch in (0, 1, 0):
        assert one[every(one, epoch)].ids.equal(other[every(other, epoch)].ids)
    seen = [view(side(100, 0), seed=seed)[every(one, epoch)].ids.tolist() for seed in (3, 4) for epoch in range(3)]
    assert len({str(ids) for ids in seen}) == 6


def test_documents_and_blocks_are_shuffled_by_different_numbers() -> None:
    order = BatchOrder(np.full(50, 8), batch_size=1, bucket_batches=0, seed=3).batches(1)
    packed = view(side(100, 0), seed=3)
    starts = packed.packing(1).shift[:-1] + np.concatenate([[0], packed.packing(1).ends[:-1]])
    assert np.argsort(np.argsort(starts)).tolist() != [int(batch[0]) for batch in order]


def test_the_types_are_the_promised_ones() -> None:
    packed = view(side(60, 0))
    block = packed[every(packed)]
    assert {str(tensor.dtype) for tensor in block[:4]} == {"torch.int64"}
    assert type(block.share) is float  # which no precision rounds
    assert block.num_bytes.shape == ()
    assert all(tensor.is_contiguous() for tensor in block[:4])
