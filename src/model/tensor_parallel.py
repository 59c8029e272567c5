"""Matrices of a decoder split among ranks that read the same rows: heads and hidden units of each block are divided.

Queries, keys, values, gate and up by rows, the matrices behind them by columns (Shoeybi et al. 2019, arXiv:1909.08053):
one sum over the ranks per half of a block and direction. Embedding and head are split by words, as storage: the loss
puts the head together again. Norms stand on every rank. So every weight is a DTensor on one mesh, as fused optimizers
demand.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from src.errors import UserError
from src.model.block import Block
from src.model.decoder import Decoder
from src.model.fused import rank_major
from src.model.norm import RMSNorm, normalise
from src.model.transformer import Transformer
from src.model.transformer_classifier import TransformerClassifier


def split_matrices(network: nn.Module, mesh: DeviceMesh) -> None:
    """Split in place over a mesh of one dimension; rows of fused matrices come to stand in rank-major order.

    Raises:
        UserError: the network is no decoder, or its sizes cannot be divided.
    """
    if not isinstance(network, Decoder):
        raise UserError(
            f"model ({type(network).__name__}) has no heads to divide: strategy=tensor_parallel is for transformers; "
            "choose strategy=fsdp or ddp."
        )
    check_divisible(network, mesh.size())
    for block in network.blocks:
        split_block(block, mesh)
    parallelize_module(network.embedding, mesh, RowwiseParallel(input_layouts=Replicate()))
    copy_norm(network.norm, mesh)
    if isinstance(network, TransformerClassifier):
        parallelize_module(network.classifier, mesh, RowwiseParallel(input_layouts=Replicate()))
    elif isinstance(network, Transformer):
        network.gather = whole
        if network.head is not None:
            replace(network.head, "weight", distribute_tensor(network.head.weight, mesh, [Shard(0)]))


def fused_rows(network: nn.Module, *, ranks: int) -> dict[str, list[int]]:
    """Of a network that is split: its fused matrices by name, with the rows of their whole parts."""
    if ranks == 1 or not isinstance(network, Decoder):
        return {}
    found = {}
    for number, block in enumerate(network.blocks):
        found[f"blocks.{number}.attention.qkv.weight"] = [size * ranks for size in block.attention.sizes]
        found[f"blocks.{number}.feed_forward.gate_up.weight"] = [block.feed_forward.down.in_features] * 2
    return found


def check_divisible(network: Decoder, ranks: int) -> None:
    """Raises UserError that names the first size that the number of ranks does not divide."""
    sizes = {
        "num_kv_heads": network.num_kv_heads,
        "feed_forward_width": next(iter(network.blocks)).feed_forward.down.in_features,
        "vocab_size": network.embedding.num_embeddings,
        "width": network.embedding.embedding_dim,
    }
    for name, size in sizes.items():
        if int(size) % ranks:
            raise UserError(
                f"model.{name} ({size}) must be a multiple of trainer.strategy.tensor_parallel_size ({ranks}), which "
                "divides it; change one of them."
            )


def split_block(block: Block, mesh: DeviceMesh) -> None:
    """Rows of fused matrices are put into rank-major order first, so that every rank gets whole heads of each kind."""
    ranks, attention, feed_forward = mesh.size(), block.attention, block.feed_forward
    hidden = feed_forward.down.in_features
    fused = {"attention.qkv.weight": list(attention.sizes), "feed_forward.gate_up.weight": [hidden, hidden]}
    with torch.no_grad():
        for name, sizes in fused.items():
            weight = block.get_parameter(name)
            weight.copy_(weight[rank_major(sizes, ranks=ranks)])
    by_rows, by_columns = ColwiseParallel(), RowwiseParallel()
    plan: dict[str, Any] = {"attention.qkv": by_rows, "feed_forward.gate_up": by_rows}
    parallelize_module(block, mesh, plan | {"attention.out": by_columns, "feed_forward.down": by_columns})
    attention.sizes = [size // ranks for size in attention.sizes]
    for norm in (block.attention_norm, block.feed_forward_norm):
        copy_norm(norm, mesh)
    for head_norm in (attention.q_norm, attention.k_norm):
        if head_norm is not None:
            copy_norm(head_norm, mesh, of_heads=True)


def copy_norm(norm: RMSNorm, mesh: DeviceMesh, *, of_heads: bool = False) -> None:
    """The whole gain on every rank. of_heads: a rank sees its own heads only, so gradients of the gain are added up."""
    replace(norm, "weight", distribute_tensor(norm.weight, mesh, [Replicate()]))
    group = mesh.get_group() if of_heads else None
    norm.forward = partial(norm_here, norm, group)  # type: ignore[method-assign]


def norm_here(norm: RMSNorm, group: Any, x: Tensor) -> Tensor:
    """The norm with the plain tensor that this rank has of its gain."""
    weight: Any = norm.weight
    gain = weight.to_local()
    return normalise(x, gain if group is None else Shared.apply(gain, group), norm.epsilon)


class Shared(torch.autograd.Function):
    """A tensor that every rank of a group has, and uses for a part of the work: its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous().clone()
        distributed.all_reduce(gradient, group=ctx.group)
        return gradient, None


def whole(weight: Tensor) -> Tensor:
    """The matrix of all ranks, as a plain tensor; its gradient is the same on all of them."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


def replace(module: nn.Module, name: str, tensor: Tensor) -> None:
    module.register_parameter(name, nn.Parameter(tensor))
