"""The index of a sharded checkpoint, `shards/index.json`: shape and type of every tensor, and where its parts are."""

import json
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import WriteItem

from src.errors import UserError
from src.run.manifest import SHARDS
from src.run.nested import Route

INDEX = f"{SHARDS}/index.json"
_ALIGNED = 64  # bytes; a mapped tensor must start at a multiple of the size of its numbers


class Part(NamedTuple):
    """Where a part of a tensor is stored."""

    file: str
    start: int  # first byte
    sizes: torch.Size
    dtype: torch.dtype


class Index(NamedTuple):
    """What a sharded checkpoint holds; `parts` by the name of the tensor and the offsets of the part in it."""

    stored: dict[str, TensorStorageMetadata]
    parts: dict[tuple[str, torch.Size], Part]


def shard_name(rank: int) -> str:
    return f"{SHARDS}/rank-{rank:05d}.bin"


def key_of(route: Route) -> str:
    """The name of a tensor: its place in the state as JSON, which tells the name "0" from the number 0."""
    return json.dumps(route)


def route_of(key: str) -> Route:
    return tuple(json.loads(key))


def starts_of(items: list[WriteItem]) -> list[int]:
    """The first byte of every item in the file of its rank."""
    starts, end = [], 0
    for item in items:
        assert item.tensor_data is not None
        start = -(-end // _ALIGNED) * _ALIGNED
        starts.append(start)
        end = start + math.prod(item.tensor_data.chunk.sizes) * item.tensor_data.properties.dtype.itemsize
    return starts


def index_text(metadata: Metadata, shares: list[list[WriteItem]]) -> str:
    parts: dict[str, list[dict[str, Any]]] = {key: [] for key in metadata.state_dict_metadata}
    for rank, items in enumerate(shares):
        for item, start in zip(items, starts_of(items), strict=True):
            assert item.tensor_data is not None
            chunk = item.tensor_data.chunk
            place = {"file": shard_name(rank), "start": start}
            parts[item.index.fqn].append({"offsets": list(chunk.offsets), "sizes": list(chunk.sizes), **place})
    tensors = {}
    for key, stored in metadata.state_dict_metadata.items():
        assert isinstance(stored, TensorStorageMetadata)
        dtype = str(stored.properties.dtype).removeprefix("torch.")
        tensors[key] = {"dtype": dtype, "shape": list(stored.size), "parts": parts[key]}
    return json.dumps({"tensors": tensors})


def parse_index(text: bytes) -> Index:
    """The index in `text`.

    Raises:
        UserError: it is none.
    """
    stored: dict[str, TensorStorageMetadata] = {}
    parts: dict[tuple[str, torch.Size], Part] = {}
    try:
        for key, entry in json.loads(text)["tensors"].items():
            dtype = getattr(torch, entry["dtype"])
            found = {
                torch.Size(each["offsets"]): Part(each["file"], each["start"], torch.Size(each["sizes"]), dtype)
                for each in entry["parts"]
            }
            chunks = [ChunkStorageMetadata(offsets, part.sizes) for offsets, part in found.items()]
            stored[key] = TensorStorageMetadata(TensorProperties(dtype=dtype), torch.Size(entry["shape"]), chunks)
            parts |= {(key, offsets): part for offsets, part in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{INDEX} is not an index that this project wrote. Use another checkpoint.") from error
    return Index(stored, parts)


def index_of(tensors: dict[Route, Tensor]) -> Index:
    """Of tensors in memory: each is one part, and the name of its file is its own."""
    stored, parts = {}, {}
    for key, tensor in ((key_of(route), tensor) for route, tensor in tensors.items()):
        whole = ChunkStorageMetadata(torch.Size([0] * tensor.dim()), tensor.shape)
        stored[key] = TensorStorageMetadata(TensorProperties(dtype=tensor.dtype), tensor.shape, [whole])
        parts[key, whole.offsets] = Part(key, 0, tensor.shape, tensor.dtype)
    return Index(stored, parts)


def empty_tensors(index: Index) -> dict[Route, Tensor]:
    """Room on the CPU for every tensor as a whole."""
    return {
        route_of(key): torch.empty(stored.size, dtype=stored.properties.dtype) for key, stored in index.stored.items()
    }
