"""The one plan of which weights lie on which device: whole layers gathered when needed (FSDP2), or matrices split (TP).

Legend: n ranks among which matrices are split ("tensor"), the other ranks read different rows ("replicate" x "shard").
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from src.model.decoder import Decoder
from src.model.recurrent_lm import RecurrentLanguageModel
from src.model.tensor_parallel import split_matrices

# Dimensions of the mesh. Neighbours, who have the fastest links, split matrices; then come those that shard.
MESH = ("replicate", "shard", "tensor")
# Methods that tasks call in the place of forward.
ENTRIES: tuple[tuple[type[nn.Module], str], ...] = ((Decoder, "hidden"), (RecurrentLanguageModel, "score"))


class Sizes(NamedTuple):
    """Ranks along each dimension of MESH; their product is the number of all ranks."""

    replicate: int = 1
    shard: int = 1
    tensor: int = 1


def shard_network(
    network: nn.Module, mesh: DeviceMesh, *, reshard_after_forward: bool = True, half: torch.dtype | None = None
) -> None:
    """Replace the network's weights by this rank's part of them, in place; names and the whole's values stay.

    mesh has the dimensions MESH. A decoder is cut block by block; embedding, final norm and head form one more unit,
    gathered from the first use to the last gradient, since the loss reads the head's matrix outside of any forward. Any
    other network is one unit. reshard_after_forward: the weights of a block are given back between its forward and its
    backward (ZeRO-3), or kept (ZeRO-2). half: the type in which blocks are gathered and computed; gradients are added
    up in float32.

    Raises:
        UserError: tensor > 1 and the network cannot be split that way.
    """
    sizes = Sizes(*mesh.shape)
    if sizes.tensor > 1:
        split_matrices(network, mesh["tensor"])
    if sizes.replicate * sizes.shard == 1 < sizes.tensor:
        return
    data = mesh["replicate", "shard"] if sizes.replicate > 1 else mesh["shard"]
    # The residual stream between the blocks keeps its type: no input is rounded.
    reduce = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    of_blocks = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)
    if isinstance(network, Decoder):
        for block in network.blocks:
            fully_shard(block, mesh=data, reshard_after_forward=reshard_after_forward, mp_policy=of_blocks)
    fully_shard(network, mesh=data, reshard_after_forward=False, mp_policy=reduce)
    for kind, method in ENTRIES:
        if isinstance(network, kind):
            register_fsdp_forward_method(network, method)


def is_sharded(network: nn.Module) -> bool:
    # FSDP's weights are plain tensors while they are gathered.
    return isinstance(network, FSDPModule) or any(isinstance(weight, DTensor) for weight in network.parameters())


def reduce_gradients(network: nn.Module, *, now: bool) -> None:
    """Whether the next backward adds gradients up over the ranks, or keeps them for a later one that does."""
    if isinstance(network, FSDPModule):
        network.set_requires_gradient_sync(now)


def give_back(network: nn.Module) -> None:
    """Give back the weights that an evaluation has gathered, so that the network's parameters are its parts again."""
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
