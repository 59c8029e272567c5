"""The test-set ledger: one line per look at the test set, because every further look makes its number worth less."""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.run.files import sync_folder
from src.run.result import flatten
from src.run.secrets import redact, redact_arguments
from src.run.status import now

LEDGER_NAME = "test_ledger.jsonl"
LOCK_NAME = ".test_ledger.lock"


def read_ledger(folder: Path) -> list[dict[str, Any]]:
    """The entries, oldest first. An unreadable line counts as an entry: it was written, so the test was seen."""
    try:
        lines = (folder / LEDGER_NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [_entry(line) for line in lines if line.strip()]


def _entry(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"note": "unreadable line"}


def allow(folder: Path, again: bool) -> None:
    """Call before testing: raises UserError if the run has met the test set before and `again` is false."""
    entries = read_ledger(folder)
    if entries and not again:
        when = entries[-1].get("time", "an unknown time")
        raise UserError(
            f"The test set was already used for this run ({len(entries)} time(s), last at {when}), see "
            f"{folder / LEDGER_NAME}. Use split=val, or again=true, which marks the result."
        )


@contextmanager
def looking(folder: Path, *, again: bool) -> Iterator[None]:
    """Let one process at a time look at the test set, from before it measures until its entry is written.

    The lock dies with the process. Where a file system has none, two looks at once are still both recorded.

    Raises:
        UserError: another process is looking, or one has and `again` is false.
    """
    descriptor = os.open(folder / LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise UserError(f"The test set is being used for the run in {folder} by another process.") from None
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
        allow(folder, again)
        yield
    finally:
        os.close(descriptor)


def record_test(
    folder: Path, *, arguments: list[str], checkpoint_sha256: str | None, split: str, metrics: dict[str, Any]
) -> dict[str, Any]:
    """Append one evaluation and return its entry: time, redacted command, weights, split, metrics, again."""
    entry = {
        "time": now(),
        "command": redact_arguments(arguments),
        "checkpoint_sha256": checkpoint_sha256,
        "split": split,
        "metrics": redact(flatten(metrics)),
        "again": bool(read_ledger(folder)),
    }
    line = json.dumps(entry, allow_nan=False) + "\n"
    path = folder / LEDGER_NAME
    torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, (("\n" if torn else "") + line).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(folder)
    return entry
