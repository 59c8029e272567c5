"""Text to words, and words to numbers on several processes."""

import random
import subprocess
import sys

import numpy as np
import pytest

from src.data.tokens import Tokens, merge, tokenise, tokenise_in_parallel
from src.data.words import EDGE_CHARACTERS, shorten, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A fine film.<br /><br />See it!", ["a", "fine", "film", "see", "it", "!"]),
        ("Don't, I don\u2019t", ["don't", "i", "don\u2019t"]),
        ("'quoted' rock'n'roll'", ["quoted", "rock'n'roll"]),
        ("Why?! 10/10", ["why", "?", "!", "10", "10"]),
        ("ÉTÉ naïve 北京", ["été", "naïve", "北京"]),
        ("good\x00bad \U0001f600 \ud800 end", ["good", "bad", "end"]),
        ("NA", ["na"]),
        ("null", ["null"]),
        ("   ", []),
        ("", []),
        ("... --- \U0001f600", []),
    ],
)
def test_words_are_split_by_the_written_rule(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_a_long_text_keeps_its_two_edges_as_separate_pieces() -> None:
    text = "a" * EDGE_CHARACTERS + "middle" + "b" * EDGE_CHARACTERS
    assert split_words(shorten(text)) == ["a" * EDGE_CHARACTERS, "b" * EDGE_CHARACTERS]
    assert shorten(text[:100]) == text[:100]


def random_texts(count: int) -> list[str]:
    draw = random.Random(0)
    words = [f"word{number}" for number in range(500)] + ["\ud800", "", "\n", '"', "北京"]
    return [" ".join(draw.choices(words, k=draw.randrange(40))) for _ in range(count)]


def assert_same(found: Tokens, expected: Tokens) -> None:
    assert found.words == expected.words
    assert found.numbers.dtype == np.int32
    np.testing.assert_array_equal(found.numbers, expected.numbers)
    np.testing.assert_array_equal(found.lengths, expected.lengths)


def test_numbers_lead_back_to_the_words_of_each_text() -> None:
    texts = random_texts(50)
    tokens = tokenise(texts)
    ends = np.cumsum(tokens.lengths)
    for text, end, length in zip(texts, ends, tokens.lengths, strict=True):
        assert [tokens.words[number] for number in tokens.numbers[end - length : end]] == split_words(text)


def test_merged_parts_equal_the_whole() -> None:
    texts = random_texts(60)
    parts = [texts[:1], [], texts[1:7], [""], texts[7:]]
    assert_same(merge([tokenise(part) for part in parts]), tokenise([text for part in parts for text in part]))


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_number_of_processes_does_not_change_the_tokens(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.data.tokens.CHUNK_CHARACTERS", 900)
    texts = random_texts(100)
    done: list[int] = []
    assert_same(tokenise_in_parallel(texts, processes=processes, advance=done.append), tokenise(texts))
    assert len(done) > 10
    assert sum(done) == len(texts)


def test_no_texts_give_no_tokens() -> None:
    assert_same(tokenise_in_parallel([]), tokenise([]))


def test_a_worker_that_dies_is_an_error_and_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.data.tokens.sys.executable", "/bin/false")
    with pytest.raises(RuntimeError, match="exit code 1"):
        tokenise_in_parallel(["a text", "b text"], processes=2)


def test_a_worker_starts_without_torch() -> None:
    """Each worker pays for its imports; torch alone would take longer than the work."""
    code = "import sys, src.data.tokens; print({'torch', 'lightning', 'pyarrow', 'datasets'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
