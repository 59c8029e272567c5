"""Passages of word ids in whole batches, cut from tokenised splits, with the vocabulary they are numbered by.

A passage is a review, or an equal part of one that is longer than `max_length`. Nothing runs from one review into
another, because a classifier too starts each review from nothing.
"""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from src.data.corpus import Side
from src.data.sampler import BatchOrder, Draw
from src.data.views import word_ids
from src.data.vocabulary import PADDING, Vocabulary, most_frequent


class WordBlock(NamedTuple):
    """B passages of at least two words; every word but the first one read is a target, in both directions."""

    ids: Tensor  # (B, T) int64, 0 where a passage has ended
    lengths: Tensor  # (B,) int64, at least 2
    share: float  # see src.data.sampler.Draw, counted in targets
    counts: bool = True  # False: a passage of another rank, because this one has none

    @property
    def num_examples(self) -> int:
        return len(self.ids) * self.counts

    @property
    def num_tokens(self) -> Tensor:
        return self.lengths.sum() * self.counts


class TargetOrder(BatchOrder):
    """The order of training batches, their share of a window counted in targets and not in passages."""

    def weight(self, rows: np.ndarray) -> int:
        return int((self.lengths[rows] - 1).sum())


@dataclass(frozen=True)
class Passages:
    """Index it with a Draw to get a WordBlock."""

    ids: np.ndarray  # (all words,) int32
    starts: np.ndarray  # (N,)
    lengths: np.ndarray  # (N,)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, draw: Draw) -> WordBlock:
        starts, lengths = self.starts[draw.indices], self.lengths[draw.indices]
        column = np.arange(lengths.max())
        inside = column < lengths[:, None]  # (B, T)
        ids = np.full(inside.shape, PADDING, dtype=np.int64)
        ids[inside] = self.ids[(starts[:, None] + column)[inside]]
        return WordBlock(torch.from_numpy(ids), torch.from_numpy(lengths), draw.share, draw.counts)


def cut(lengths: np.ndarray, max_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths of the passages of documents that lie behind each other; a single word makes none."""
    parts = -(-lengths // max_length)
    document = np.repeat(np.arange(len(lengths)), parts)
    part = np.arange(len(document)) - np.repeat(np.cumsum(parts) - parts, parts)
    words, of = lengths[document], parts[document]
    first, last = words * part // of, words * (part + 1) // of
    starts = (np.cumsum(lengths) - lengths)[document] + first
    long = last - first >= 2
    return starts[long], (last - first)[long]


def join(sides: list[Side], vocabulary: Vocabulary, max_length: int) -> Passages:
    """The rows of these sides, one behind the other."""
    ids, lengths = [], []
    for side in sides:
        used = np.zeros(len(side.tokens.lengths), dtype=bool)
        used[side.rows] = True
        numbers = side.tokens.numbers[np.repeat(used, side.tokens.lengths)]
        ids.append(word_ids(side.tokens, vocabulary).astype(np.int32)[numbers])
        lengths.append(side.tokens.lengths[used])
    return Passages(np.concatenate(ids), *cut(np.concatenate(lengths), max_length))


def fit_vocabulary(sides: list[Side], *, vocab_size: int) -> Vocabulary:
    """The most frequent words of these rows of several splits."""
    counts: Counter[str] = Counter()
    for side in sides:
        used = np.zeros(len(side.tokens.lengths), dtype=bool)
        used[side.rows] = True
        numbers = side.tokens.numbers[np.repeat(used, side.tokens.lengths)]
        found = np.bincount(numbers, minlength=len(side.tokens.words)).tolist()
        counts.update(dict(zip(side.tokens.words, found, strict=True)))
    return most_frequent(list(counts), np.array(list(counts.values())), vocab_size=vocab_size)
