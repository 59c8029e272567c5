"""The numbers of a sharded checkpoint: one raw file per rank, planned for writing and reading by torch's planners.

Of torch.distributed.checkpoint only the plans are used, who writes what and who reads which part of it. Its files are
not, because both its `.metadata` and the objects in its shards are pickles that it reads with code execution allowed.
"""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan

from src.errors import UserError
from src.run.manifest import SHARDS
from src.run.nested import Route
from src.run.ranks import Ranks
from src.run.shard_index import Index, Part, index_text, key_of, route_of, starts_of
from src.run.state_file import Produce, Sink


def plan_writing(tensors: dict[Route, Tensor], ranks: Ranks) -> tuple[Produce, str]:
    """What this rank writes into its file, and on rank 0 the text of the index; every rank calls it.

    What several ranks hold is written by one of them, each time the one that has the least to write so far.
    """
    planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    planner.set_up_planner({key_of(route): tensor for route, tensor in tensors.items()}, is_coordinator=ranks.rank == 0)
    plans = ranks.gather(ranks.together(planner.create_local_plan))

    def global_plan() -> tuple[list[SavePlan], str]:
        shares, metadata = planner.create_global_plan(plans)
        return shares, index_text(metadata, [plan.items for plan in shares])

    shares, text = ranks.first(global_plan) or ([], "")
    plan = planner.finish_plan(ranks.scatter(shares))

    def produce(sink: Sink) -> None:
        end = 0
        for item, start in zip(plan.items, starts_of(plan.items), strict=True):
            sink.write(bytes(start - end))
            tensor = planner.resolve_data(item).detach().cpu().contiguous()  # type: ignore[union-attr]
            sink.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
            end = start + tensor.nbytes

    return produce, text


@torch.no_grad()
def fill(tensors: dict[Route, Tensor], index: Index, read: Callable[[Part], Tensor], *, of: Path) -> None:
    """Copy into `tensors` what they are of the stored ones: a DTensor its own part, a plain tensor the whole.

    read: gives a stored part. of: the checkpoint, for the messages.

    Raises:
        UserError: a tensor that is not stored, or is stored with another shape.
    """
    wanted = {key_of(route): tensor for route, tensor in tensors.items()}
    for key, tensor in wanted.items():
        stored = index.stored.get(key)
        if stored is None or stored.size != tensor.shape:
            found = "is missing" if stored is None else f"has the shape {tuple(stored.size)}"
            raise UserError(f"{'/'.join(map(str, route_of(key)))} {tuple(tensor.shape)} {found} in {of}.")
    planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    planner.set_up_planner(wanted, Metadata(dict(index.stored)), is_coordinator=True)
    for item in planner.create_local_plan().items:
        offsets = item.storage_index.offset
        assert offsets is not None
        source = read(index.parts[item.storage_index.fqn, offsets])
        for dimension, (offset, length) in enumerate(zip(item.storage_offsets, item.lengths, strict=True)):
            source = source.narrow(dimension, offset, length)
        planner.resolve_tensor(item).detach().copy_(source)


def read_part(folder: Path, part: Part) -> Tensor:
    """A tensor over the mapped file: only the pages that are used are read."""
    length = math.prod(part.sizes) * part.dtype.itemsize
    if length == 0:
        return torch.empty(part.sizes, dtype=part.dtype)
    path, end = folder / SHARDS / Path(part.file).name, part.start + length
    mapped = torch.from_file(str(path), shared=False, size=end, dtype=torch.uint8)
    return mapped[part.start :].view(part.dtype).view(part.sizes)
