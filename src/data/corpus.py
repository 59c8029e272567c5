"""From a source to finished splits: tokenised, checked, split, with a vocabulary of the training rows only."""

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

from src.data.cache import obtain
from src.data.cache_files import CACHE_FORMAT, TokenCache
from src.data.labels import check_texts, label_numbers
from src.data.split import split_rows
from src.data.table import Source
from src.data.tokens import tokenise_in_parallel
from src.data.vocabulary import Vocabulary, most_frequent
from src.data.words import TOKENIZER_VERSION, is_long, shorten
from src.errors import UserError

log = logging.getLogger(__name__)

Overlap = Literal["keep", "drop", "error"]


@dataclass(frozen=True)
class Side:
    """The rows of one tokenised split that train, validate or test."""

    tokens: TokenCache
    rows: np.ndarray  # (N,) int64


def cached_split(source: Source, name: str, *, columns: Sequence[str], label_names: list[str], cache_dir: str) -> Side:
    """Tokenise one split of a source, or open the cache of it; all its rows are on the side returned.

    Raises UserError for any text or label that is not legal, and for a split without rows or with a single label.
    """
    if name not in source.split_names:
        raise UserError(
            f"data.split (official) needs a {name} split, but {source.name} has {', '.join(source.split_names)}; "
            "use data.split=holdout."
        )
    facts = [CACHE_FORMAT, TOKENIZER_VERSION, source.fingerprint, name, list(columns), label_names]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    tokens = obtain(Path(cache_dir), key, lambda: _tokenise(source, name, label_names))
    present = np.unique(tokens.labels)
    if len(present) < 2:
        found = f"only the label {label_names[present[0]]}" if len(present) else "no rows"
        raise UserError(f"The {name} split of {source.name} has {found}; a classifier needs at least two labels.")
    return Side(tokens, np.arange(len(tokens.labels)))


def _tokenise(source: Source, name: str, label_names: list[str]) -> TokenCache:
    table = source.read(name)
    labels = label_numbers(table, label_names)
    texts = check_texts(table)
    hashes = np.array([_text_hash(text) for text in texts], dtype=np.uint64)
    shortened = sum(map(is_long, texts))
    with _progress(f"Tokenising {source.name} {name}", len(texts)) as advance:
        tokens = tokenise_in_parallel([shorten(text) for text in texts], advance=advance)
    offsets = np.concatenate([[0], np.cumsum(tokens.lengths)]).astype(np.int64)
    notes = {"without_words": int((tokens.lengths == 0).sum()), "shortened": shortened}
    return TokenCache(tokens.words, tokens.numbers, offsets, labels, hashes, notes)


def _text_hash(text: str) -> int:
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


def official(train: Side, test: Side, *, label_names: list[str], seed: int, overlap: Overlap) -> dict[str, Side]:
    """Cut training rows into 90 % train and 10 % val, and keep the given test rows, all of them.

    `overlap` says what happens to texts that are in both; raises UserError for "error".
    """
    doubled = np.isin(train.tokens.hashes, test.tokens.hashes)
    count = count_overlap(train, test)
    if count and overlap == "error":
        raise UserError(
            f"{count} test reviews also occur in train, and data.overlap is error; use keep to leave them, "
            "or drop to take them out of train."
        )
    if count:
        done = f"{int(doubled.sum())} training rows are dropped" if overlap == "drop" else "they are kept"
        log.warning("%d of %d test reviews also occur in train; %s.", count, len(test.rows), done)
    rows = train.rows[~doubled] if overlap == "drop" else train.rows
    tokens = train.tokens
    sides = split_rows(tokens.labels[rows], tokens.hashes[rows], num_held_out=1, seed=seed, label_names=label_names)
    return {"train": Side(tokens, rows[sides[0]]), "val": Side(tokens, rows[sides[1]]), "test": test}


def count_overlap(train: Side, test: Side) -> int:
    """Count the test rows whose text also occurs in the training split."""
    return int(np.isin(test.tokens.hashes, train.tokens.hashes).sum())


def fit_vocabulary(train: Side, *, vocab_size: int) -> Vocabulary:
    """Build the vocabulary from the words of the training rows and nothing else."""
    tokens = train.tokens
    used = np.zeros(len(tokens.labels), dtype=bool)
    used[train.rows] = True
    counts = np.bincount(tokens.numbers[np.repeat(used, tokens.lengths)], minlength=len(tokens.words))
    return most_frequent(tokens.words, counts, vocab_size=vocab_size)


def fingerprint(source: Source, sides: dict[str, Side], vocabulary: Vocabulary) -> dict[str, Any]:
    """Describe the data as plain JSON: what it is, how it was cut, and what is odd about it."""
    caches = {"train": sides["train"].tokens}
    if sides["test"].tokens is not sides["train"].tokens:
        caches["test"] = sides["test"].tokens
    return {
        "source": source.name,
        "content": source.fingerprint,
        "tokenizer": TOKENIZER_VERSION,
        "rows": {name: len(cache.labels) for name, cache in caches.items()},
        **{f"{note}": sum(cache.notes[note] for cache in caches.values()) for note in sides["train"].tokens.notes},
        "sizes": {name: len(side.rows) for name, side in sides.items()},
        "split_sha256": {name: hashlib.sha256(side.rows.tobytes()).hexdigest() for name, side in sides.items()},
        "vocabulary": {
            "size": len(vocabulary),
            "sha256": hashlib.sha256("\n".join(vocabulary.words).encode()).hexdigest(),
        },
    }
