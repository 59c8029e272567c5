"""Activation checkpointing: memory of a backward traded for computing parts of the forward a second time."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

Checkpointing = Literal["none", "blocks", "selective"]
# Products of a weight matrix. Batched products are those of attention=naive: its T x S weights are what nobody keeps.
PRODUCTS = {"aten::mm", "aten::addmm"}
# Every fused attention names itself: torch's own backends, flash-attn's operators, flex_attention and ours.
ATTENTION = ("attention", "attn")


def recomputed(function: Callable[..., Tensor], *inputs: Any, checkpointing: Checkpointing) -> Tensor:
    """function(*inputs), of which the backward keeps as much as `checkpointing` says; the gradients are the same.

    none: everything. blocks: the inputs alone (Chen et al. 2016, arXiv:1604.06174), one more forward per step.
    selective: also what matrix products and attention gave, which is dear to compute; norms, rotation, SiLU and sums
    are computed again (Korthikanti et al. 2022, arXiv:2205.05198).
    """
    if checkpointing == "none" or not torch.is_grad_enabled():
        return function(*inputs)
    if checkpointing == "blocks":
        return checkpoint(function, *inputs, use_reentrant=False)
    contexts = partial(create_selective_checkpoint_contexts, keep_what_is_dear)
    return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)


def keep_what_is_dear(context: Any, operator: Any, *arguments: Any, **options: Any) -> CheckpointPolicy:
    """The policy of selective checkpointing, asked for every operator of a forward and of its second run."""
    name = operator.name()
    if name.split(".")[0] in PRODUCTS or any(word in name for word in ATTENTION):
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE
