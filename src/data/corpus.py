"""From a source to finished splits: tokenised, checked, split, with a vocabulary of the training rows only.

Which rows are on which side is a matter of their labels and texts, not of how they are tokenised.
"""

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from src.data.bpe import Bpe
from src.data.cache import obtain
from src.data.cache_files import CACHE_FORMAT, TokenCache
from src.data.labels import check_texts, label_numbers
from src.data.schemes import WORDS, Scheme
from src.data.split import split_rows
from src.data.table import UNSUPERVISED, Source
from src.data.vocabulary import Vocabulary, most_frequent
from src.errors import UserError

log = logging.getLogger(__name__)

Overlap = Literal["keep", "drop", "error"]
NO_LABEL = -1  # of every row of the unsupervised split


@dataclass(frozen=True)
class Side:
    """The rows of one tokenised split that train, validate or test."""

    tokens: TokenCache
    rows: np.ndarray  # (N,) int64


def cached_split(
    source: Source,
    name: str,
    *,
    columns: Sequence[str],
    label_names: list[str],
    cache_dir: str,
    scheme: Scheme = WORDS,
) -> Side:
    """Tokenise one split of a source, or open the cache of it; all its rows are on the side returned.

    Raises UserError for any text or label that is not legal, and for a split without rows or with a single label.
    """
    if name not in source.split_names:
        raise UserError(
            f"data.split (official) needs a {name} split, but {source.name} has {', '.join(source.split_names)}; "
            "use data.split=holdout."
        )
    facts = [CACHE_FORMAT, scheme.version, source.fingerprint, name, list(columns), label_names]
    tokens = obtain(Path(cache_dir), key_of(facts), lambda: _tokenise(source, name, label_names, scheme))
    present = np.unique(tokens.labels)
    if len(present) < 2 and name != UNSUPERVISED:
        found = f"only the label {label_names[present[0]]}" if len(present) else "no rows"
        raise UserError(f"The {name} split of {source.name} has {found}; a classifier needs at least two labels.")
    return Side(tokens, np.arange(len(tokens.labels)))


def key_of(facts: list[Any]) -> str:
    """Name a cache by everything that its content depends on."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _tokenise(source: Source, name: str, label_names: list[str], scheme: Scheme = WORDS) -> TokenCache:
    table = source.read(name)
    unlabelled = name == UNSUPERVISED
    labels = np.full(len(table.texts), NO_LABEL) if unlabelled else label_numbers(table, label_names)
    texts = check_texts(table)
    hashes = np.array([text_hash(text) for text in texts], dtype=np.uint64)
    with _progress(f"{scheme.title} {source.name} {name}", len(texts)) as advance:
        tokens, notes = scheme.run(texts, advance)
    offsets = np.concatenate([[0], np.cumsum(tokens.lengths)]).astype(np.int64)
    return TokenCache(tokens.words, tokens.numbers, offsets, labels, hashes, notes)


def text_hash(text: str) -> int:
    # 64 bits: two different texts of a million collide with a chance of 1 in 37 million.
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=total)
        yield lambda rows: progress.advance(task, rows)


def holdout(train: Side, *, label_names: list[str], seed: int) -> dict[str, Side]:
    """Cut training rows into 80 % train, 10 % val, 10 % test."""
    sides = split_rows(train.tokens.labels, train.tokens.hashes, num_held_out=2, seed=seed, label_names=label_names)
    return {name: Side(train.tokens, rows) for name, rows in zip(("train", "val", "test"), sides, strict=True)}


def official(
    train: Side, test: Side, *, label_names: list[str], seed: int, overlap: Overlap = "keep"
) -> dict[str, Side]:
    """Cut training rows into 90 % train and 10 % val, and keep the given test rows, all of them.

    `overlap` says what happens to training texts that are in both; raises UserError for "error" if there are any.
    """
    count = count_overlap(train, test)
    if count and overlap == "error":
        raise UserError(
            f"{count} test reviews also occur in train, and data.overlap is error; use keep to leave them, "
            "or drop to take them out of train."
        )
    tokens, rows = train.tokens, (without(train, [test]) if overlap == "drop" else train).rows
    sides = split_rows(tokens.labels[rows], tokens.hashes[rows], num_held_out=1, seed=seed, label_names=label_names)
    return {"train": Side(tokens, rows[sides[0]]), "val": Side(tokens, rows[sides[1]]), "test": test}


def without(side: Side, others: Sequence[Side]) -> Side:
    """Leave out every row whose text also stands on one of the other sides."""
    held = np.concatenate([other.tokens.hashes[other.rows] for other in others])
    return Side(side.tokens, side.rows[~np.isin(side.tokens.hashes[side.rows], held)])


def count_overlap(train: Side, test: Side) -> int:
    """Count the test rows whose text also occurs in the training split."""
    return int(np.isin(test.tokens.hashes, train.tokens.hashes).sum())


def report_overlap(train: Side, test: Side, overlap: Overlap) -> int:
    """Say what `official` does about test texts that also stand in train; returns the number of such test rows."""
    count = count_overlap(train, test)
    if count:
        dropped = len(train.rows) - len(without(train, [test]).rows)
        done = f"{dropped} training rows are dropped" if overlap == "drop" else "they are kept"
        log.warning("%d of %d test reviews also occur in train; %s.", count, len(test.rows), done)
    return count


def fit_vocabulary(train: Side, *, vocab_size: int) -> Vocabulary:
    """Build the vocabulary from the words of the training rows and nothing else."""
    tokens = train.tokens
    used = np.zeros(len(tokens.labels), dtype=bool)
    used[train.rows] = True
    counts = np.bincount(tokens.numbers[np.repeat(used, tokens.lengths)], minlength=len(tokens.words))
    return most_frequent(tokens.words, counts, vocab_size=vocab_size)


def fingerprint(source: Source, sides: dict[str, Side], vocabulary: Vocabulary | Bpe) -> dict[str, Any]:
    """Describe the data as plain JSON: what it is, how it was cut, and what is odd about it."""
    caches = {"train": sides["train"].tokens}
    if sides["test"].tokens is not sides["train"].tokens:
        caches["test"] = sides["test"].tokens
    return {
        "source": source.name,
        "content": source.fingerprint,
        "tokenizer": vocabulary.VERSION,
        "rows": {name: len(cache.labels) for name, cache in caches.items()},
        **{f"{note}": sum(cache.notes[note] for cache in caches.values()) for note in sides["train"].tokens.notes},
        "sizes": {name: len(side.rows) for name, side in sides.items()},
        "split_sha256": {name: hashlib.sha256(side.rows.tobytes()).hexdigest() for name, side in sides.items()},
        "vocabulary": {"size": len(vocabulary), "sha256": vocabulary.sha256},
    }
