"""The ways a split is turned into numbers: its words, its BPE tokens, or nothing but its labels and hashes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from src.data.bpe import Bpe
from src.data.tokens import Tokens, chunks_of, tokenise_in_parallel
from src.data.words import TOKENIZER_VERSION, is_long, shorten

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Scheme:
    """`run(texts, advance)` gives the tokens and counts worth reporting; `version` names it in cache keys."""

    title: str  # what is said while it runs
    version: str
    run: Callable[[Sequence[str], Advance], tuple[Tokens, dict[str, int]]]


def _words(texts: Sequence[str], advance: Advance) -> tuple[Tokens, dict[str, int]]:
    tokens = tokenise_in_parallel([shorten(text) for text in texts], advance=advance)
    return tokens, {"without_words": int((tokens.lengths == 0).sum()), "shortened": sum(map(is_long, texts))}


def _rows(texts: Sequence[str], advance: Advance) -> tuple[Tokens, dict[str, int]]:
    return Tokens([], np.empty(0, dtype=np.int32), np.zeros(len(texts), dtype=np.int64)), {}


WORDS = Scheme("Tokenising", TOKENIZER_VERSION, _words)
# What a split needs before there is a tokenizer: whose text may it learn from?
ROWS = Scheme("Reading", "rows-1", _rows)


def subwords(bpe: Bpe) -> Scheme:
    """Documents as BPE tokens, each opened by END (75,000 reviews: 33 s of CPU time over all cores)."""

    def run(texts: Sequence[str], advance: Advance) -> tuple[Tokens, dict[str, int]]:
        numbers, lengths = [np.empty(0, dtype=np.int32)], []
        for chunk in chunks_of(texts):
            documents = bpe.encode_documents(chunk)
            numbers.append(np.concatenate(documents))
            lengths += [len(document) for document in documents]
            advance(len(chunk))
        return Tokens([], np.concatenate(numbers), np.array(lengths, dtype=np.int64)), {}

    return Scheme("Tokenising", f"{Bpe.VERSION} {bpe.sha256}", run)
