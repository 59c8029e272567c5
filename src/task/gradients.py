"""The size of a gradient whose parts may lie on several ranks, and how it is clipped."""

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from src.task.non_finite import gradient_norm


@torch.no_grad()
def total_norm(parameters: list[nn.Parameter]) -> Tensor:
    """Euclidean norm of all gradients of all ranks as one vector, (), to the bit the same on every rank.

    Gradients that every rank has as a whole (one process, DDP) are asked alone. Of divided ones each rank adds up the
    squares of its parts, those that k ranks hold by 1/k, and one sum over the ranks does the rest.
    """
    if not any(isinstance(parameter.grad, DTensor) for parameter in parameters):
        return gradient_norm(parameters)
    ranks = distributed.get_world_size()
    parts: dict[int, list[Tensor]] = {}
    for parameter in parameters:
        assert parameter.grad is not None
        parts.setdefault(copies(parameter.grad, ranks), []).append(local(parameter.grad))
    norms = [torch.nn.utils.get_total_norm(tensors).float().square() / k for k, tensors in parts.items()]
    total = torch.stack(norms).sum()
    distributed.all_reduce(total)
    return total.sqrt()


@torch.no_grad()
def clip(parameters: list[nn.Parameter], limit: float, norm: Tensor, *, algorithm: str | None) -> None:
    """Shorten the whole gradient, of this norm, to `limit`; with "value" clip every number of it on its own."""
    gradients = [local(parameter.grad) for parameter in parameters if parameter.grad is not None]
    if not gradients:  # the step is left out
        return
    if algorithm == "value":
        torch._foreach_clamp_min_(gradients, -limit)
        torch._foreach_clamp_max_(gradients, limit)
    else:
        torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))


def copies(gradient: Tensor, ranks: int) -> int:
    """How many of the ranks hold the same part of a gradient."""
    if not isinstance(gradient, DTensor):
        return ranks
    for dimension, placement in enumerate(gradient.placements):
        if not placement.is_replicate():
            ranks //= gradient.device_mesh.size(dimension)
    return ranks


def local(gradient: Tensor) -> Tensor:
    """This rank's part of a gradient, in the same memory."""
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient
