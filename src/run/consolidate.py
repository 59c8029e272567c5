"""What leaves the project: a folder that is whole or absent, with the sha256 of every file in SHA256SUMS."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from src.errors import UserError
from src.run.files import short_id, sync_folder, write_text

WEIGHTS_NAME, SUMS_NAME = "model.safetensors", "SHA256SUMS"


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which takes the name `path` when the block ends well and leaves nothing otherwise.

    Raises:
        UserError: `path` holds something, or cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"to ({path}) must be new or empty: what is there would mix with what is written.")
    temporary = path.with_name(f".{path.name}.{short_id()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        names = sorted(each.name for each in temporary.iterdir())
        write_text(temporary / SUMS_NAME, "".join(f"{_flushed_sha256(temporary / n)}  {n}\n" for n in names))
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"to ({path}) cannot be written: {error.strerror}. Choose another folder.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_weights(weights: dict[str, Tensor], path: Path) -> None:
    """One safetensors file, the same to the byte for the same weights. A tensor that shares memory is written again."""
    from safetensors.torch import save_file

    taken: set[int] = set()
    own = {}
    for name, tensor in weights.items():
        place = tensor.untyped_storage().data_ptr()
        own[name] = tensor.detach().contiguous()
        if place in taken:
            own[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
        taken.add(place)
    # A second entry of the header would come in random order.
    save_file(own, path, metadata={"format": "pt"})


def _flushed_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return sha256
