"""Words to numbers: 0 is padding, 1 any unknown word, then the words of the training reviews, most frequent first."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from src.data.words import TOKENIZER_VERSION, shorten, split_words
from src.errors import UserError

PADDING = 0
UNKNOWN = 1
NUM_SPECIAL = 2


class Vocabulary:
    """A fixed list of words; word i has id i + 2."""

    FILE = "vocabulary.json"
    VERSION = TOKENIZER_VERSION

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._ids = {word: id_ for id_, word in enumerate(self.words, start=NUM_SPECIAL)}
        if len(self._ids) != len(self.words):
            raise UserError(f"A vocabulary must hold each word once; {len(self.words) - len(self._ids)} are repeated.")

    def __len__(self) -> int:
        """Count the ids, padding and unknown included."""
        return len(self.words) + NUM_SPECIAL

    def encode(self, words: Iterable[str]) -> np.ndarray:
        """Look up each word; returns (number of words,) int32."""
        ids = self._ids
        return np.fromiter((ids.get(word, UNKNOWN) for word in words), dtype=np.int32)

    def encode_document(self, text: str) -> np.ndarray:
        """Ids of the words of a text, (number of words,) int32."""
        return self.encode(split_words(shorten(text)))

    @property
    def sha256(self) -> str:
        """Equal for equal words in equal order."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the words as a JSON list."""
        Path(path).write_text(json.dumps(self.words, ensure_ascii=False, indent=0), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Read what `save` wrote; raises UserError if the file is missing or something else."""
        try:
            words = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"Vocabulary file ({path}) cannot be read: {error}.") from error
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UserError(f"Vocabulary file ({path}) must hold a JSON list of words.")
        return cls(words)


def most_frequent(words: Sequence[str], counts: np.ndarray, *, vocab_size: int) -> Vocabulary:
    """Keep the vocab_size - 2 words with the highest counts; ties go in alphabetical order, zero counts never."""
    seen = np.flatnonzero(counts).tolist()
    seen.sort(key=lambda index: (-int(counts[index]), words[index]))
    return Vocabulary([words[index] for index in seen[: vocab_size - NUM_SPECIAL]])
