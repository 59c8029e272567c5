"""Which groups of words occur in which review: a sparse matrix of zeros and ones, built in bounded memory."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from src.data.views import LabelledView

# A group of words becomes one of 2^24 columns by its hash: counting takes 256 MB whatever the corpus. IMDb's 4.8
# million groups of up to three words then share columns here and there, which costs at most 0.1 points of accuracy.
COLUMN_BITS = 24
CHUNK = 2000  # reviews hashed at a time, about 1.4 million groups
# Odd, with ones and zeros well mixed (the golden ratio and its like): multiplying moves every bit into the upper ones.
NEXT_WORD, SPREAD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


class NGrams:
    """Learns which groups of 1 to `longest` words are in `min_reviews` training reviews, then marks them anywhere.

    It reads the words that the network reads, but all of them: no vocabulary, no maximum length.
    """

    def __init__(self, view: LabelledView, *, longest: int, min_reviews: int = 2) -> None:
        self.longest = longest
        reviews = np.zeros(1 << COLUMN_BITS, dtype=np.int64)
        for _, columns in self.occurrences(view):
            reviews += np.bincount(columns, minlength=1 << COLUMN_BITS)
        kept = np.flatnonzero(reviews >= min_reviews)
        self.num_features = len(kept)
        self.feature = np.full(1 << COLUMN_BITS, -1, dtype=np.int32)  # feature of each column, -1 for none
        self.feature[kept] = np.arange(len(kept), dtype=np.int32)

    def mark(self, view: LabelledView) -> Any:
        """(N, features) scipy CSR matrix, float32: 1 where the review contains the group."""
        from scipy.sparse import csr_matrix, vstack

        parts: list[csr_matrix] = []
        for rows, columns in self.occurrences(view):
            features = self.feature[columns]
            known = features >= 0
            size = min(CHUNK, len(view) - len(parts) * CHUNK)
            ones = np.ones(int(known.sum()), dtype=np.float32)
            parts.append(csr_matrix((ones, (rows[known], features[known])), shape=(size, self.num_features)))
        return vstack(parts, format="csr")

    def occurrences(self, view: LabelledView) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each chunk of reviews: their number within the chunk and a column, each pair once."""
        tokens = view.tokens
        hashes = np.array([word_hash(word) for word in tokens.words], dtype=np.uint64)
        for start in range(0, len(view), CHUNK):
            rows = view.rows[start : start + CHUNK]
            words = np.concatenate([tokens.numbers[tokens.offsets[row] : tokens.offsets[row + 1]] for row in rows])
            review = np.repeat(np.arange(len(rows)), tokens.lengths[rows])
            pairs = [
                (review[: len(group)][inside] << COLUMN_BITS) + (group[inside] * SPREAD >> np.uint64(64 - COLUMN_BITS))
                for group, inside in groups(hashes[words], review, longest=self.longest)
            ]
            found = np.concatenate(pairs).astype(np.int64)
            # By hand, because np.unique goes through a hash table: 20 times slower on these numbers.
            found.sort()
            found = found[np.diff(found, prepend=-1) > 0]
            yield found >> COLUMN_BITS, found & ((1 << COLUMN_BITS) - 1)


def groups(words: np.ndarray, review: np.ndarray, *, longest: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each length up to `longest`: the hash of the group that begins at each word, and whether one review holds it.

    words (W,) uint64 hashes of the words, all reviews behind each other; review (W,) the review of each.
    """
    group = words
    for extra in range(longest):
        if extra:
            group = group[:-1] * NEXT_WORD + words[extra:]
        yield group, review[extra:] == review[: len(review) - extra]


def word_hash(word: str) -> int:
    """64 bits that are the same in every process, unlike Python's own hash."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest())
