"""Which words get an id, and which id."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from src.data.tokens import tokenise
from src.data.vocabulary import PADDING, UNKNOWN, Vocabulary, most_frequent
from src.errors import UserError


def counted(texts: list[str], vocab_size: int) -> Vocabulary:
    tokens = tokenise(texts)
    return most_frequent(tokens.words, np.bincount(tokens.numbers), vocab_size=vocab_size)


def test_frequent_words_come_first_and_ties_are_alphabetical() -> None:
    assert counted(["b b b z a", "c a z"], 100).words == ["b", "a", "z", "c"]


def test_the_size_includes_padding_and_unknown() -> None:
    vocabulary = counted(["b b b z a c a z"], 4)
    assert vocabulary.words == ["b", "a"]
    assert len(vocabulary) == 4
    assert vocabulary.encode(["b", "a", "z", "nowhere"]).tolist() == [2, 3, UNKNOWN, UNKNOWN]
    assert PADDING not in vocabulary.encode(["b", "a", "z"])


def test_the_ranking_equals_that_of_a_counter() -> None:
    words = [f"w{number % 37 * number % 11}" for number in range(1000)]
    ranked = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))
    assert counted([" ".join(words)], 9).words == [word for word, _ in ranked[:7]]


def test_words_that_never_occur_get_no_id() -> None:
    assert most_frequent(["a", "b"], np.array([0, 3]), vocab_size=9).words == ["b"]


def test_a_saved_vocabulary_encodes_the_same(tmp_path: Path) -> None:
    vocabulary = counted(["naïve 北京 don\u2019t don't ! ?"], 100)
    vocabulary.save(tmp_path / "vocabulary.json")
    loaded = Vocabulary.load(tmp_path / "vocabulary.json")
    assert loaded.words == vocabulary.words
    np.testing.assert_array_equal(loaded.encode(["北京", "!"]), vocabulary.encode(["北京", "!"]))


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"a": 1}', '["a", "a"]', '["a"'])
def test_anything_but_a_list_of_words_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(content)
    with pytest.raises(UserError):
        Vocabulary.load(path)
    with pytest.raises(UserError, match="cannot be read"):
        Vocabulary.load(tmp_path / "missing.json")
