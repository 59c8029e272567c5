"""Fused matrices whose rows are split among ranks: each rank takes its share of every part.

The rows of a fused matrix are its parts one behind the other (queries, keys, values; gate, up). Cut into equal pieces,
the first rank would get queries alone. In rank-major order each rank's share of every part stands together:
    [q q k k v v] on two ranks -> [q k v | q k v]
What is saved has the order of one process.
"""

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard


def rank_major(sizes: list[int], *, ranks: int) -> Tensor:
    """(rows,) index: row i of the rank-major matrix is row index[i] of the fused one; sizes: rows of whole parts."""
    parts = torch.arange(sum(sizes)).split(sizes)
    return torch.cat([part.chunk(ranks)[rank] for rank in range(ranks) for part in parts])


@torch.no_grad()
def in_order(matrix: DTensor, sizes: list[int], *, ranks: int) -> DTensor:
    """A copy of a rank-major matrix with its rows in the order of one process, divided by rows; collective."""
    index = rank_major(sizes, ranks=ranks).argsort()
    rows = matrix.full_tensor()[index.to(matrix.device)]
    mesh = matrix.device_mesh
    copies = DTensor.from_local(rows, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return copies.redistribute(placements=[Shard(0)] * mesh.ndim)


@torch.no_grad()
def put(matrix: Tensor, whole: Tensor, sizes: list[int] | None = None, *, ranks: int = 1) -> None:
    """Write this rank's part of `whole`, rows in the order of one process, into a tensor or DTensor.

    sizes: rows of the parts if the matrix is a fused one in rank-major order.
    """
    if not isinstance(matrix, DTensor):
        matrix.copy_(whole)
        return
    if isinstance(whole, DTensor):
        whole = whole.full_tensor()
    if sizes is not None:
        whole = whole[rank_major(sizes, ranks=ranks).to(whole.device)]
    matrix.to_local().copy_(own_part(whole, matrix))


def own_part(whole: Tensor, like: DTensor) -> Tensor:
    """What this rank has of `whole`; the last dimension of a mesh cuts first, as FSDP2 divides what TP has left."""
    mesh = like.device_mesh
    place = mesh.get_coordinate()
    assert place is not None
    for dimension in reversed(range(mesh.ndim)):
        placement = like.placements[dimension]
        if isinstance(placement, Replicate):
            continue
        axis = placement.dim  # type: ignore[attr-defined]
        pieces = whole.chunk(mesh.size(dimension), axis)
        whole = pieces[place[dimension]] if place[dimension] < len(pieces) else whole.narrow(axis, 0, 0)
    return whole
