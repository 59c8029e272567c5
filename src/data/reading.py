"""The text that a tokenizer and a language model may read, and the tokenizer trained on it.

That is the training rows and the rows without labels, less every text that also stands in val or test.
"""

import hashlib
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from src.data.bpe import Bpe, train_bpe
from src.data.cache import obtain_any
from src.data.cache_files import CACHE_FORMAT, Damaged, seal, verify
from src.data.corpus import Side, key_of, without
from src.data.labels import check_texts
from src.data.table import Source
from src.errors import UserError


def readable(sides: dict[str, Side], others: dict[str, Side]) -> dict[str, Side]:
    """Name of a split to the rows of it that may be read: those of `train` and all `others`, less held-out texts."""
    held_out = [sides["val"], sides["test"]]
    return {name: without(side, held_out) for name, side in {"train": sides["train"], **others}.items()}


def trained_bpe(source: Source, text: dict[str, Side], *, text_column: str, vocab_size: int, cache_dir: str) -> Bpe:
    """Train a tokenizer on the given rows of the source's splits, or open the one that was.

    The key holds the rows themselves, and with them split, split_seed, labels and what is left out.
    """
    rows = {name: hashlib.sha256(side.rows.tobytes()).hexdigest() for name, side in text.items()}
    facts = [CACHE_FORMAT, Bpe.VERSION, version("tokenizers"), source.fingerprint, text_column, rows, vocab_size]

    def build() -> Bpe:
        count = sum(len(side.rows) for side in text.values())
        print(
            f"Training a byte-level BPE of {vocab_size:,} tokens on {count:,} texts of {source.name}; "
            f"kept in {cache_dir} for the next run.",
            file=sys.stderr,
            flush=True,
        )
        return train_bpe(_texts(source, text), vocab_size=vocab_size)

    return obtain_any(Path(cache_dir), key_of(facts), build, read=_open, write=_write)


def _texts(source: Source, text: dict[str, Side]) -> Iterator[str]:
    for name, side in text.items():
        found = check_texts(source.read(name))
        yield from (found[row] for row in side.rows)


def _open(folder: Path) -> Bpe:
    verify(folder)
    try:
        return Bpe.load(folder / Bpe.FILE)
    except UserError as error:
        raise Damaged(str(error)) from error


def _write(bpe: Bpe, folder: Path) -> None:
    bpe.save(folder / Bpe.FILE)
    seal(folder, notes={})
