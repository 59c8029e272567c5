"""Reads a committed checkpoint, from one file or from shards, after every hash was compared with the manifest."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from src.errors import UserError
from src.run.manifest import Manifest
from src.run.nested import numbered, put
from src.run.shard_index import INDEX, Index, empty_tensors, parse_index
from src.run.shards import fill, read_part
from src.run.state_file import read_state, verified

OPTIMIZERS, WEIGHTS = "optimizer_states", "state_dict"
Place = str | Callable[..., Any] | torch.device


def read_checkpoint(manifest: Manifest, *, map_location: Place = "cpu") -> dict[str, Any]:
    """The state as one process saves it; raises UserError naming a file that is damaged. Shards come on the CPU."""
    if not manifest.files:
        return read_state(manifest.path, sha256=manifest.sha256, map_location=map_location)
    verify_files(manifest, list(manifest.files))
    index = read_index(manifest)
    state = read_state(manifest.path, sha256=manifest.sha256)
    tensors = empty_tensors(index)
    fill(tensors, index, partial(read_part, manifest.path.parent), of=manifest.path)
    for route, tensor in tensors.items():
        put(state, route, tensor)
    if OPTIMIZERS in state:
        state[OPTIMIZERS] = [numbered(each) for each in state[OPTIMIZERS]]
    return state


def verify_files(manifest: Manifest, names: list[str]) -> None:
    """Raise UserError naming the first of the files that is not what the manifest says."""
    for name in names:
        with verified(manifest.path.parent / name, sha256=manifest.all_files[name]["sha256"]):
            pass


def read_index(manifest: Manifest) -> Index:
    """Where the tensors of a sharded checkpoint are.

    Raises:
        UserError: it is damaged, or names a file that is not in the manifest.
    """
    path = manifest.path.parent / INDEX
    if INDEX not in manifest.files:
        raise UserError(f"The checkpoint {manifest.path} lacks {INDEX}. Use another checkpoint of the run.")
    with verified(path, sha256=manifest.files[INDEX]["sha256"]) as file:
        index = parse_index(file.read())
    foreign = {part.file for part in index.parts.values()} - set(manifest.files)
    if foreign:
        raise UserError(f"{path} names {sorted(foreign)[0]}, which is no file of this checkpoint. Use another one.")
    return index
