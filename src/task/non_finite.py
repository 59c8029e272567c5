"""Looks at loss and gradient between backward and the optimizer step, so that a NaN never reaches a weight."""

import math
from typing import Literal

import torch
from torch.optim import Optimizer

from src.errors import Diverged


class NonFiniteGuard:
    """Stops the run, or leaves the step out, when loss or gradient norm is NaN or infinite.

    A step is left out by dropping its gradients: torch optimizers pass over parameters without one, so weights and
    moments keep their bits. Multiplying by zero would not do, since 0 * NaN is NaN.
    """

    def __init__(self, *, policy: Literal["stop", "skip"], max_skips: int) -> None:
        self.policy = policy
        self.max_skips = max_skips
        self.skipped = 0
        self.skipped_in_a_row = 0

    def inspect(self, *, loss: float, gradient_norm: float, step: int, optimizer: Optimizer) -> None:
        """Judge one optimizer step.

        Raises:
            Diverged: the policy is stop, or `max_skips` steps in a row were skipped.
        """
        if math.isfinite(loss) and math.isfinite(gradient_norm):
            self.skipped_in_a_row = 0
            return
        self.skipped += 1
        self.skipped_in_a_row += 1
        what = f"at optimizer step {step} the loss was {loss:g} and the gradient norm {gradient_norm:g}"
        if self.policy == "stop":
            raise Diverged(
                f"Training diverged: {what}. Lower optimizer.lr or trainer.gradient_clip_val, or leave such steps out "
                "with task.non_finite=skip."
            )
        if self.skipped_in_a_row >= self.max_skips:
            raise Diverged(
                f"Training diverged: {what}, and task.max_skips ({self.max_skips}) steps in a row were skipped."
            )
        optimizer.zero_grad(set_to_none=True)


def gradient_norm(parameters: list[torch.nn.Parameter]) -> torch.Tensor:
    """Euclidean norm of all gradients as one vector, on their device, shape ()."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
