"""Opens or builds a cache (of tokens, of a trained tokenizer) that all runs and processes share.

A cache is a folder that appears by one rename and is complete from that moment. Whatever fails its hash is built
again; a killed build leaves only a temporary folder, which the next build of the same cache removes.
"""

import fcntl
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from src.data.cache_files import Damaged, TokenCache, open_cache, write_cache
from src.errors import UserError

log = logging.getLogger(__name__)


Content = TypeVar("Content")


def obtain(cache_dir: Path, key: str, build: Callable[[], TokenCache]) -> TokenCache:
    """Open the token cache of this key, or build it while other processes wait.

    Raises UserError if `cache_dir` cannot be written.
    """
    return obtain_any(cache_dir, key, build, read=open_cache, write=write_cache)


def obtain_any(
    cache_dir: Path,
    key: str,
    build: Callable[[], Content],
    *,
    read: Callable[[Path], Content],
    write: Callable[[Content, Path], None],
) -> Content:
    """`obtain` for any content: `write` fills and seals an empty folder, `read` verifies and opens it."""
    folder = cache_dir / key
    try:
        return read(folder)
    except (FileNotFoundError, Damaged):
        pass  # looked at again below, when no other process can be replacing it
    with _only_one(cache_dir / f"{key}.lock"):
        try:
            return read(folder)
        except FileNotFoundError:
            pass
        except Damaged as damage:
            log.warning("The cache %s is damaged (%s); it is built again.", folder, damage)
        content = build()
        try:
            _replace(folder, lambda empty: write(content, empty))
            return read(folder)
        except OSError as error:
            raise _unusable(cache_dir, error) from error
        except Damaged as damage:
            raise UserError(f"{folder} does not read back as it was written ({damage}); check the disk.") from damage


def _unusable(cache_dir: Path, error: OSError) -> UserError:
    return UserError(
        f"data.cache_dir ({cache_dir}) cannot be written: {error.strerror}. Choose a folder of yours with room, "
        "for example paths.cache_dir=<folder>."
    )


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the system releases it when the process ends, however it ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise _unusable(path.parent, error) from error
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("Waiting for another process that builds the cache (%s).", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _replace(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a temporary folder and rename it; what an earlier kill left behind goes first."""
    _remove_temporary(folder)
    temporary = _temporary(folder)
    temporary.mkdir()
    try:
        fill(temporary)
        if folder.exists():
            # Processes that have mapped the old files keep them until they let go.
            folder.rename(_temporary(folder))
        temporary.rename(folder)
        _flush_folder(folder.parent)
    finally:
        _remove_temporary(folder)


def _temporary(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.tmp-{secrets.token_hex(4)}")


def _remove_temporary(folder: Path) -> None:
    for left_over in folder.parent.glob(f"{folder.name}.tmp-*"):
        shutil.rmtree(left_over)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
