"""Reads a data set from the Hugging Face hub; the only file that imports `datasets`."""

import hashlib
import os
import threading
import urllib.error
import urllib.request
from functools import partial
from typing import Any

from src.data.table import Source, Table
from src.errors import UserError

PROBE_SECONDS = 5.0
_WAY_OUT = "Use data=demo, which needs no network, or data.path=<folder with a local copy>"


def read_hub(name: str, *, text_column: str, label_column: str) -> Source:
    """Download a data set, or take the copy that `datasets` keeps, and fingerprint its rows.

    Raises UserError if it is neither reachable nor kept, or does not have the columns.
    """
    splits = _load(name)
    for split, rows in splits.items():
        for column in (text_column, label_column):
            if column not in rows.column_names:
                raise UserError(
                    f"{name}, split {split}, has no column {column}; it has {', '.join(rows.column_names)}. "
                    "Set data.text_column and data.label_column to two of them."
                )
    read = partial(_read_split, splits, name, text_column, label_column)
    return Source(name, _fingerprint(splits), tuple(splits), read)


def _load(name: str) -> dict[str, Any]:
    reachable = _is_reachable(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    # `datasets` reads this at import. Offline it looks at its own copies at once; otherwise it retries for 23 s.
    before = os.environ.get("HF_HUB_OFFLINE")
    if not reachable:
        os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"data.path ({name}) is a hub name, which needs the package datasets: pip install datasets. {_WAY_OUT}."
        ) from error
    finally:
        if not reachable and before is None:
            del os.environ["HF_HUB_OFFLINE"]
    try:
        return dict(datasets.load_dataset(name))
    except Exception as error:  # every way a third-party loader may fail on what the user named
        if not reachable:
            raise UserError(
                f"data.path ({name}) is not a folder here, and the hub cannot be reached to look for it. {_WAY_OUT}."
            ) from error
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"data.path ({name}) cannot be loaded from the hub: {first_line} {_WAY_OUT}.") from error


def _is_reachable(endpoint: str) -> bool:
    """Ask the hub for a sign of life; a name server that never answers counts as no after PROBE_SECONDS."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(endpoint, method="HEAD")
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
        except urllib.error.HTTPError:
            pass  # an answer all the same
        except (OSError, ValueError):
            return
        answers.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return bool(answers)


def _read_split(splits: dict[str, Any], name: str, text_column: str, label_column: str, split: str) -> Table:
    rows = splits[split]
    return Table(list(rows[text_column]), list(rows[label_column]), f"{name}, split {split}")


def _fingerprint(splits: dict[str, Any]) -> str:
    """Hash the rows themselves: the library does not notice when its kept files change."""
    digest = hashlib.sha256()
    for split, rows in sorted(splits.items()):
        digest.update(f"{split} {rows.num_rows}\n".encode())
        for entry in rows.cache_files:
            with open(entry["filename"], "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
