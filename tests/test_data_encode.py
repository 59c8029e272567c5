"""Cutting and padding against a slow, plain reading of the rule."""

import numpy as np
import pytest

from src.data.encode import Encoder
from src.data.vocabulary import Vocabulary

VOCABULARY = Vocabulary([f"w{number}" for number in range(30)])


def slow(ids: list[int], encoder: Encoder) -> list[int]:
    """The rule, word by word."""
    if not ids:
        return [1]
    if len(ids) <= encoder.max_length:
        return ids
    head = encoder.max_length if encoder.head is None else encoder.head
    tail = encoder.max_length - head
    return ids[:head] + (ids[-tail:] if tail else [])


@pytest.mark.parametrize("pad_to_max_length", [False, True])
@pytest.mark.parametrize(("max_length", "head"), [(1, None), (10, None), (10, 0), (10, 3), (10, 10), (500, 100)])
def test_reviews_are_cut_and_padded_by_the_rule(max_length: int, head: int | None, pad_to_max_length: bool) -> None:
    encoder = Encoder(VOCABULARY, max_length, head, pad_to_max_length)
    draw = np.random.RandomState(0)
    reviews = [draw.randint(0, 40, length).tolist() for length in [0, 1, 9, 10, 11, 12, 25, 0, 200]]
    texts = [" ".join(f"w{number}" for number in review) for review in reviews]
    ids, lengths = encoder(texts)
    expected = [slow([number + 2 if number < 30 else 1 for number in review], encoder) for review in reviews]
    assert lengths.tolist() == [len(row) for row in expected]
    assert ids.shape == (9, max_length if pad_to_max_length else max(map(len, expected)))
    for row, wanted in zip(ids.tolist(), expected, strict=True):
        assert row[: len(wanted)] == wanted
        assert not any(row[len(wanted) :])


def test_a_text_encodes_the_same_alone_and_in_company() -> None:
    encoder = Encoder(VOCABULARY, 6, 2)
    texts = ["", "w1 w2", "w1 w2 w3 w4 w5 w6 w7 w8", "?!", "nothing known", "NA"]
    together, lengths = encoder(texts)
    for row, length, text in zip(together, lengths, texts, strict=True):
        alone, _ = encoder([text])
        assert row[:length].tolist() == alone[0].tolist()


def test_no_texts_give_no_rows() -> None:
    ids, lengths = Encoder(VOCABULARY, 6)([])
    assert ids.shape == (0, 1)
    assert lengths.shape == (0,)
