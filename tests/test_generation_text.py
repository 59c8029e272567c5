"""Text as it comes: whole characters only, and stop strings wherever tokens are cut."""

import random
from itertools import pairwise

import pytest
from tokenizers import Tokenizer, decoders, models

from src.data.bpe import train_bpe
from src.generation.stopping import StopStrings
from src.generation.stream import TextStream

TEXTS = [
    "plain words, and then some",
    "caf\u00e9 na\u00efve \u00df",
    "\u6f22\u5b57\u3068\u304b\u306a",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 end",
    " leading and trailing ",
    "\n\n",
    "",
]


@pytest.fixture(scope="module")
def bpe():
    return train_bpe(["the cat sat on the mat and that was that, the cat said"] * 9, vocab_size=270)


def pieces_of(decode, tokens):
    stream = TextStream(decode)
    return [*(stream.push(token) for token in tokens), stream.finish()]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_join_to_the_text_and_none_is_broken(bpe, text):
    pieces = pieces_of(bpe.decode, bpe.encode(text).tolist())
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("text", TEXTS[1:4])
def test_text_comes_as_soon_as_it_is_whole(bpe, text):
    """After each token all characters are out whose bytes are all there."""
    tokens, out = bpe.encode(text).tolist(), ""
    stream = TextStream(bpe.decode)
    for count, token in enumerate(tokens, start=1):
        out += stream.push(token)
        assert out == bpe.decode(tokens[:count]).rstrip("\ufffd")


def test_a_character_that_never_becomes_whole_is_not_shown(bpe):
    tokens = bpe.encode("ok \u6f22").tolist()
    assert "".join(pieces_of(bpe.decode, tokens[:-1])) == "ok "


def test_random_tokens_give_what_decoding_all_at_once_gives(bpe):
    """An untrained model writes any bytes; what is no character is shown as one sign for it, as everywhere."""
    draw = random.Random(0)
    for _ in range(200):
        tokens = [draw.randrange(1, len(bpe)) for _ in range(draw.randint(1, 40))]
        assert "".join(pieces_of(bpe.decode, tokens)) == bpe.decode(tokens).rstrip("\ufffd")


def test_a_tokenizer_that_drops_the_first_space_keeps_the_others():
    """SentencePiece writes a word's space in front of it and takes away that of the first; bytes are tokens apart."""
    vocabulary = {
        token: number for number, token in enumerate(["\u2581a", "\u2581b", "c", *(f"<0x{n:02X}>" for n in range(256))])
    }
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    parts = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    word = [3 + byte for byte in "\u6f22".encode()]
    tokens = [0, 1, 2, *word, 0, *word, *word, 1]
    pieces = pieces_of(tokenizer.decode, tokens)
    assert "".join(pieces) == tokenizer.decode(tokens) == "a bc\u6f22 a\u6f22\u6f22 b"
    assert not any("\ufffd" in piece for piece in pieces)


def cut_at_random(text, draw):
    cuts = [0, *sorted(draw.choices(range(len(text) + 1), k=4)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts)]


@pytest.mark.parametrize(
    ("text", "stops", "expected", "found"),
    [
        ("one two three", ["two"], "one ", "two"),
        ("one two three", ["four"], "one two three", None),
        ("aaab", ["aab"], "a", "aab"),
        ("ababac", ["abac"], "ab", "abac"),
        ("x\n\nReview: y", ["\nReview", "\n\nReview"], "x", "\n\nReview"),
        ("caf\u00e9 \U0001f600!", ["\U0001f600"], "caf\u00e9 ", "\U0001f600"),
        ("END", ["END"], "", "END"),
        ("abc", [], "abc", None),
    ],
)
def test_a_stop_string_is_found_however_the_text_is_cut(text, stops, expected, found):
    draw = random.Random(0)
    for _ in range(100):
        stop = StopStrings(stops)
        shown = ""
        for piece in cut_at_random(text, draw):
            shown += stop.push(piece)
            assert expected.startswith(shown), "a part of the stop string was shown"
            if stop.found:
                break
        assert (shown + stop.finish(), stop.found) == (expected, found)


def test_only_what_may_begin_a_stop_string_is_held_back():
    stop = StopStrings(["###"])
    assert [stop.push(text) for text in ("a#", "#", "b", "c##")] == ["a", "", "##b", "c"]
    assert stop.finish() == "##"
