"""Token numbers to padded id tensors; training and prediction cut and pad through the same few lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.data.bpe import Bpe
from src.data.vocabulary import PADDING, UNKNOWN, Vocabulary
from src.errors import UserError

Tokenizer = Vocabulary | Bpe


@dataclass(frozen=True)
class Encoder:
    """Cuts reviews to `max_length` tokens, numbers them and pads them; B reviews, T columns.

    A longer review keeps its first `head` tokens and its last `max_length - head`; with None, the first `max_length`.
    T is the longest kept review of the batch, or always `max_length` with `pad_to_max_length`.
    A review without words is one unknown word, so that every length is at least 1; with BPE every review has END.
    """

    vocabulary: Tokenizer
    max_length: int
    head: int | None = None
    pad_to_max_length: bool = False

    def kept(self, lengths: np.ndarray) -> np.ndarray:
        """Tokens left of reviews with `lengths` tokens."""
        return np.clip(lengths, 1, self.max_length)

    def gather(
        self, words: np.ndarray, starts: np.ndarray, lengths: np.ndarray, ids: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """Cut, number and pad reviews that lie behind each other in one array.

        words (all words,) word numbers; starts and lengths (B,) say where each review lies; ids (word numbers,) gives
        each word number its id. Returns ids (B, T) int64 and lengths (B,) int64.
        """
        kept = self.kept(lengths)
        T = self.max_length if self.pad_to_max_length else int(kept.max(initial=1))
        column = np.arange(T)
        inside = column < np.minimum(lengths, self.max_length)[:, None]  # (B, T)
        place = starts[:, None] + column
        if self.head is not None:
            place += (column >= self.head) * np.maximum(lengths - self.max_length, 0)[:, None]
        padded = np.full(inside.shape, PADDING, dtype=np.int64)
        padded[inside] = ids[words[place[inside]]]
        padded[lengths == 0, 0] = UNKNOWN
        return torch.from_numpy(padded), torch.from_numpy(kept.astype(np.int64))

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Encode texts; returns ids (B, T) int64 and lengths (B,) int64, rows in the order of `texts`."""
        numbers = [self.vocabulary.encode_document(text) for text in texts]
        lengths = np.array([len(row) for row in numbers], dtype=np.int64)
        words = np.concatenate([*numbers, np.empty(0, dtype=np.int32)])
        return self.gather(words, np.cumsum(lengths) - lengths, lengths, np.arange(len(self.vocabulary)))


def open_tokenizer(path: str | Path, *, vocab_size: int | None = None) -> Tokenizer:
    """Open the vocabulary.json or tokenizer.json of a run, which must fit `vocab_size` ids if that is given.

    Raises UserError if it is neither, or does not fit.
    """
    kinds: dict[str, type[Vocabulary] | type[Bpe]] = {kind.FILE: kind for kind in (Vocabulary, Bpe)}
    name = Path(path).name
    if name not in kinds:
        raise UserError(f"data.tokenizer ({path}) must be words, bpe, or the path of a {' or '.join(kinds)}.")
    tokenizer = kinds[name].load(path)
    # A vocabulary holds at most vocab_size words: a small corpus has fewer, and the network is as wide as it was.
    fits = (
        vocab_size is None or len(tokenizer) == vocab_size or (name == Vocabulary.FILE and len(tokenizer) < vocab_size)
    )
    if not fits:
        raise UserError(
            f"data.vocab_size ({vocab_size}) must be {len(tokenizer)}, the size of data.tokenizer ({path})."
        )
    return tokenizer


def load_encoder(folder: str | Path, data_config: dict[str, Any]) -> Encoder:
    """What turns texts into (ids (N, T), lengths (N,)) as a finished run's batches were, from its folder and config."""
    # A run made before there was a choice has words.
    tokenizer = data_config.get("tokenizer", "words")
    name = {"words": Vocabulary.FILE, "bpe": Bpe.FILE}.get(tokenizer, Path(tokenizer).name)
    length, head, pad = (data_config[key] for key in ("max_length", "head", "pad_to_max_length"))
    return Encoder(open_tokenizer(Path(folder) / name), length, head, pad)
