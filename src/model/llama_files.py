"""The weight files of a Hugging Face folder: safetensors, one or several with an index, one tensor in memory at a time.

A safetensors file is 8 bytes that say how long the header is, the header (JSON: type, shape and place of each tensor),
and the numbers. The library writes a file from tensors that are all in memory, and ours are rows of larger matrices, so
that would be a second copy of the network: this writer needs one of the tensor at hand.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from src.errors import UserError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
Named = tuple[str, Tensor]


def locate(folder: Path) -> dict[str, Path]:
    """The file of every tensor in a folder.

    Raises:
        UserError: there are no weight files, or one that the index names is missing.
    """
    if (folder / INDEX).is_file():
        file_of = json.loads((folder / INDEX).read_text())["weight_map"]
    elif (folder / SINGLE).is_file():
        with safe_open(str(folder / SINGLE), framework="pt") as file:
            file_of = dict.fromkeys(file.keys(), SINGLE)
    else:
        raise UserError(f"{folder} holds neither {SINGLE} nor {INDEX}; other formats are not read.")
    for name in sorted(set(file_of.values())):
        if not (folder / name).is_file():
            raise UserError(f"{folder} lacks {name}, which {INDEX} names.")
    return {tensor: folder / name for tensor, name in file_of.items()}


def read_tensor(path: Path, name: str) -> Tensor:
    """Opened for one tensor: a file that stays open keeps in memory all that was read from it."""
    with safe_open(str(path), framework="pt") as file:
        return file.get_tensor(name)


def write_weights(folder: Path, tensors: Iterable[Named], *, max_shard_bytes: int) -> None:
    """One file, or as many as it takes to keep each below `max_shard_bytes`; a larger tensor has a file of its own."""
    shards: list[list[Named]] = [[]]
    size = 0
    for name, tensor in tensors:
        if shards[-1] and size + tensor.nbytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append((name, tensor))
        size += tensor.nbytes
    if len(shards) == 1:
        write_file(folder / SINGLE, shards[0])
        return
    files = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    for file, shard in zip(files, shards, strict=True):
        write_file(folder / file, shard)
    weight_map = {name: file for file, shard in zip(files, shards, strict=True) for name, _ in shard}
    total = sum(tensor.nbytes for shard in shards for _, tensor in shard)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def write_file(path: Path, tensors: list[Named]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors:
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers start at a multiple of 8, as the library does it
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in tensors:
            file.write(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
