"""Word numbers to padded id tensors; training and prediction cut and pad through the same few lines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from src.data.vocabulary import PADDING, UNKNOWN, Vocabulary
from src.data.words import shorten, split_words


@dataclass(frozen=True)
class Encoder:
    """Cuts reviews to `max_length` words, numbers them and pads them; B reviews, T columns.

    A longer review keeps its first `head` words and its last `max_length - head`; with None, the first `max_length`.
    T is the longest kept review of the batch, or always `max_length` with `pad_to_max_length`.
    A review without words is one unknown word, so that every length is at least 1.
    """

    vocabulary: Vocabulary
    max_length: int
    head: int | None = None
    pad_to_max_length: bool = False

    def kept(self, lengths: np.ndarray) -> np.ndarray:
        """Words left of reviews with `lengths` words."""
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
        numbers = [self.vocabulary.encode(split_words(shorten(text))) for text in texts]
        lengths = np.array([len(row) for row in numbers], dtype=np.int64)
        words = np.concatenate([*numbers, np.empty(0, dtype=np.int32)])
        return self.gather(words, np.cumsum(lengths) - lengths, lengths, np.arange(len(self.vocabulary)))
