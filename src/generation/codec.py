"""Text to tokens and back, as a generator needs it, whatever the tokenizer."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from src.data.bpe import Bpe


class Codec(NamedTuple):
    """How text becomes tokens and the other way round.

    encode: a prompt's tokens behind those that open a text. decode: text, special tokens left out. ends: tokens that
    end a text.
    """

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    ends: frozenset[int]


def bpe_codec(bpe: Bpe) -> Codec:
    """Of our own tokenizer: END opens a text as in training, and ends it."""
    return Codec(lambda text: bpe.encode_document(text).tolist(), bpe.decode, frozenset({bpe.END}))
