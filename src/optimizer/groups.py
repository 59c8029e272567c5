"""Which parameters decay."""

from typing import Any

from torch import nn


def decay_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Two groups: matrices keep the optimizer's weight decay; vectors (biases, norm gains) get none.

    A bias or a gain has no direction that shrinking would regularise: decay only pulls it off its optimum.
    """
    matrices = [p for p in module.parameters() if p.requires_grad and p.ndim >= 2]
    vectors = [p for p in module.parameters() if p.requires_grad and p.ndim < 2]
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
