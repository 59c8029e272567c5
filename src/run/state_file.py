"""Checkpoint files that are hashed while written and verified before they are read; only plain data goes in or out."""

import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint

from src.errors import UserError
from src.run.files import replacing

_CHUNK = 1 << 20  # 1 MiB; larger chunks do not hash faster


class Sink(Protocol):
    """What torch.save needs of a file."""

    def write(self, data: Any) -> int: ...

    def flush(self) -> None: ...


Produce = Callable[[Sink], None]  # writes the content of a file


class _HashedFile:
    """Writes pass through to the file, and are hashed, counted and their error kept.

    torch.save writes strictly from the first byte to the last, so the hash of the writes is the hash of the file. Its
    C++ side replaces an error of a write (disk full) by one that does not say why, hence `error`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()
        self.bytes = 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.hash.update(data)
        self.bytes += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


class _Memory:
    """A file that is yet to be written. A list, because one growing buffer would need twice the room while it grows."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def write(self, data: Any) -> int:
        self.chunks.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing to do."""

    def copy_to(self, sink: Sink) -> None:
        for chunk in self.chunks:
            sink.write(chunk)


def freeze(produce: Produce) -> Produce:
    """`produce` done at once, into memory; what is returned writes the same bytes later, whatever changed meanwhile."""
    memory = _Memory()
    produce(memory)
    return memory.copy_to


def plain_data(state: Any) -> Produce:
    """Writes `state` as torch.save does."""
    return partial(torch.save, state)  # type: ignore[return-value]


def plain_text(text: str) -> Produce:
    """Writes `text` in UTF-8."""

    def produce(sink: Sink) -> None:
        sink.write(text.encode())

    return produce


def write_file(produce: Produce, path: Path) -> tuple[str, int]:
    """Write a file and return (sha256, bytes).

    Raises OSError if it does not fit on the disk. Then, and when the process dies, an earlier file of this name stays
    as it was.
    """
    with _hashed(path) as (_, hashed):
        produce(hashed)
    return hashed.hash.hexdigest(), hashed.bytes


def write_state(produce: Produce, path: Path) -> tuple[str, int]:
    """As `write_file`, for what `plain_data` produces.

    Raises TypeError if it holds anything that weights_only loading refuses.
    """
    with _hashed(path) as (file, hashed):
        produce(hashed)
        file.flush()
        if foreign := get_unsafe_globals_in_checkpoint(file.name):
            raise TypeError(
                f"The checkpoint holds {', '.join(sorted(foreign))}, which loading without code execution refuses; "
                "keep tensors, numbers, text, lists and dicts in the state."
            )
    return hashed.hash.hexdigest(), hashed.bytes


@contextmanager
def _hashed(path: Path) -> Iterator[tuple[IO[bytes], _HashedFile]]:
    with replacing(path) as file:
        hashed = _HashedFile(file)
        try:
            yield file, hashed
            file.flush()
        except (OSError, RuntimeError) as error:
            cause = hashed.error or (error if isinstance(error, OSError) else None)
            if cause is None:
                raise
            words = f"{os.strerror(cause.errno or 0)}; the checkpoint was not written, earlier ones are intact"
            raise OSError(cause.errno, words, str(path)) from error


def verify(file: IO[bytes], path: Path, sha256: str) -> None:
    """Read `file` to its end; raises UserError naming `path` if its hash is not `sha256`."""
    found = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        found.update(chunk)
    if found.hexdigest() != sha256:
        raise UserError(
            f"The checkpoint {path} is damaged: its sha256 is {found.hexdigest()[:12]}..., the manifest says "
            f"{sha256[:12]}.... Use another checkpoint of the run, or restore this one from a backup."
        )


@contextmanager
def verified(path: Path, *, sha256: str) -> Iterator[IO[bytes]]:
    """The file, open at its start, if its hash is `sha256`; raises UserError naming it otherwise."""
    try:
        with open(path, "rb") as file:
            verify(file, path, sha256)
            file.seek(0)
            yield file
    except OSError as error:
        raise UserError(f"The checkpoint {path} cannot be read: {error.strerror}. Use another checkpoint.") from error


def read_state(path: Path, *, sha256: str, map_location: str | Callable[..., Any] | torch.device = "cpu") -> Any:
    """Load `path` if its hash is `sha256`; raises UserError naming the file otherwise.

    torch.load alone notices about 1 % of flipped bits; the rest become wrong weights. weights_only=True is explicit:
    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD has no say then. The bytes that were hashed are those that are read (one handle).
    """
    with verified(path, sha256=sha256) as file:
        try:
            return torch.load(file, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            raise UserError(
                f"The checkpoint {path} holds more than plain data and was not loaded: it could run code. "
                "Use a checkpoint that this project wrote."
            ) from error
