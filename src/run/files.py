"""Files that are either whole or absent: written under a temporary name in the same folder, synced, renamed."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


def short_id() -> str:
    """8 hexadecimal characters from the operating system's generator: independent of every seed and of the clock."""
    return secrets.token_hex(4)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the name `path` only if the block ends well; the previous file stays until then.

    The temporary name is in the same folder, because a rename is atomic only within one file system and $TMPDIR is
    often another one. The folder is synced too: without it a power cut may forget the new name.
    """
    temporary = path.with_name(f".{path.name}.{short_id()}.tmp")
    file = open(temporary, "xb")  # noqa: SIM115 - closed by hand, see below
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        file.close()
        os.replace(temporary, path)
    except BaseException:
        with suppress(
            OSError
        ):  # on a full disk, close fails again over the rest of its buffer and would hide the error
            file.close()
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` (new, renamed, removed) survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8; characters UTF-8 cannot hold (lone surrogates) become `?`."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", errors="replace"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by strict JSON; raises ValueError for NaN and infinity, which are no JSON numbers."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None when the file is missing, cut short or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
