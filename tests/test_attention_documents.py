"""The memo of documents: lengths and boundaries against a loop, each computed once."""

import itertools
import random

import pytest
import torch

from src.attention.documents import Documents


def random_numbers(rows, steps, *, seed):
    """Rows of contiguous documents with arbitrary different numbers."""
    draw = random.Random(seed)
    table = []
    for _ in range(rows):
        cuts = sorted(draw.sample(range(1, steps), draw.randrange(min(5, steps)))) if steps > 1 else []
        names = draw.sample(range(-50, 50), len(cuts) + 1)
        bounds = [0, *cuts, steps]
        table.append(
            [name for name, (a, b) in zip(names, itertools.pairwise(bounds), strict=True) for _ in range(b - a)]
        )
    return torch.tensor(table)


@pytest.mark.parametrize("seed", range(20))
def test_lengths_and_boundaries_are_those_of_a_loop_over_the_rows(seed):
    numbers = random_numbers(1 + seed % 4, 1 + seed, seed=seed)
    documents = Documents(numbers)
    truth = [len(list(group)) for row in numbers.tolist() for _, group in itertools.groupby(row)]
    assert documents.lengths() == truth
    boundaries = documents.boundaries()
    assert boundaries.dtype == torch.int32
    assert boundaries.tolist()[: len(truth) + 1] == [0, *itertools.accumulate(truth)]
    assert set(boundaries.tolist()[len(truth) :]) == {numbers.numel()}


def test_equal_numbers_in_neighbouring_rows_are_two_documents():
    assert Documents(torch.zeros(3, 4, dtype=torch.int64)).lengths() == [4, 4, 4]


def test_boundaries_come_in_few_sizes():
    sizes = {len(Documents(torch.arange(n)[None]).boundaries()) for n in range(1, 257)}
    assert sizes == {65, 129, 257}


def test_a_number_that_returns_has_no_slice():
    documents = Documents(torch.tensor([[1, 1, 2, 1]]))
    assert documents.lengths() is None
    with pytest.raises(ValueError, match="documents must be contiguous: a number returns later in its row"):
        documents.boundaries()


def test_what_is_built_once_serves_all_layers():
    documents, built = Documents(torch.zeros(1, 3)), []
    for _ in range(3):
        assert documents.once("mask", lambda: built.append(1) or "the mask") == "the mask"
    assert built == [1]
    assert documents.once("another", lambda: "another") == "another"


def test_an_object_stays_itself():
    documents = Documents(torch.zeros(1, 3))
    assert Documents.of(documents) is documents
    assert Documents.of(None) is None
    assert Documents.of(documents.numbers).numbers is documents.numbers
