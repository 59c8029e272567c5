"""Rows into training and held-out sides."""

import numpy as np
import pytest

from src.data.split import split_rows
from src.errors import UserError

NAMES = ["neg", "pos"]


def sorted_corpus(per_label: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels sorted as in IMDb, every text different."""
    return np.repeat([0, 1], per_label), np.arange(2 * per_label, dtype=np.uint64)


def split(labels: np.ndarray, hashes: np.ndarray, held_out: int = 2, seed: int = 0) -> list[np.ndarray]:
    return split_rows(labels, hashes, num_held_out=held_out, seed=seed, label_names=NAMES)


@pytest.mark.parametrize("held_out", [1, 2])
@pytest.mark.parametrize("per_label", [3, 4, 12, 103, 12_500])
def test_each_side_holds_a_tenth_of_each_label_and_every_row_is_on_one_side(per_label: int, held_out: int) -> None:
    labels, hashes = sorted_corpus(per_label)
    sides = split(labels, hashes, held_out)
    np.testing.assert_array_equal(np.sort(np.concatenate(sides)), np.arange(2 * per_label))
    tenth = max(1, (per_label + 5) // 10)
    for side in sides[1:]:
        assert np.bincount(labels[side]).tolist() == [tenth, tenth]


def test_the_split_is_a_function_of_the_seed() -> None:
    labels, hashes = sorted_corpus(200)
    for one, again, other in zip(
        split(labels, hashes), split(labels, hashes), split(labels, hashes, seed=1), strict=True
    ):
        np.testing.assert_array_equal(one, again)
        assert one.tolist() != other.tolist()


def test_held_out_rows_come_from_everywhere_in_the_file() -> None:
    """A slice of a sorted file would hold out one label, and of a file sorted by film a few films."""
    labels, hashes = sorted_corpus(5000)
    for side in split(labels, hashes)[1:]:
        tenths = np.bincount(side // 1000, minlength=10)
        assert tenths.min() > 60  # 100 expected; 60 is more than four standard deviations away
        assert tenths.max() < 140


@pytest.mark.parametrize("seed", range(20))
def test_identical_texts_stay_on_one_side_even_with_different_labels(seed: int) -> None:
    draw = np.random.RandomState(seed)
    labels = draw.randint(0, 2, 400)
    hashes = draw.randint(0, 150, 400).astype(np.uint64)
    sides = split(labels, hashes, seed=seed)
    assert sum(map(len, sides)) == 400
    for one in range(3):
        for other in range(one):
            assert not np.intersect1d(hashes[sides[one]], hashes[sides[other]]).size


def test_duplicates_do_not_cost_a_single_row_of_the_held_out_sides() -> None:
    labels, hashes = sorted_corpus(1000)
    hashes[100:150] = hashes[0:50]
    hashes[150:160] = hashes[1200]  # one text eleven times, under both labels
    for side in split(labels, hashes)[1:]:
        assert np.bincount(labels[side]).tolist() == [100, 100]


@pytest.mark.parametrize(
    ("labels", "hashes"),
    [
        ([0, 0, 0, 1, 1], [0, 1, 2, 3, 4]),  # two rows of a label for three sides
        ([0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 3, 3]),  # three rows, one text
        ([0, 0, 0, 0], [0, 1, 2, 3]),  # a label without rows
    ],
)
def test_too_few_different_texts_of_a_label_are_refused(labels: list[int], hashes: list[int]) -> None:
    with pytest.raises(UserError, match="at least 3 of every label"):
        split(np.array(labels), np.array(hashes, dtype=np.uint64))


def test_texts_under_both_labels_can_be_split_as_long_as_each_side_gets_one() -> None:
    labels, hashes = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 0, 1, 2], dtype=np.uint64)
    assert [np.sort(labels[side]).tolist() for side in split(labels, hashes)] == [[0, 1]] * 3


def test_blocks_too_large_for_any_side_are_refused() -> None:
    labels, hashes = np.repeat([0, 1], 30), np.repeat(np.arange(6, dtype=np.uint64), 10)
    with pytest.raises(UserError, match="too many texts are identical"):
        split(labels, hashes)


def test_the_error_names_the_label_and_what_it_lacks() -> None:
    with pytest.raises(UserError, match=r"Label 1 \(pos\) has 2 distinct reviews.* at least 3"):
        split(np.array([0, 0, 0, 1, 1]), np.arange(5, dtype=np.uint64))
