"""Looks at loss and gradient between backward and the optimizer step, so that a NaN never reaches a weight."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from src.errors import Diverged


class NonFiniteGuard:
    """Stops the run, or leaves the step out, when loss or gradient norm is NaN or infinite.

    Two ways lead there. The host looks at every step and drops the gradients of a bad one: torch optimizers pass over
    parameters without a gradient, so weights and moments keep their bits. (Multiplying by zero would not do, since
    0 * NaN is NaN.) On a GPU that look would make the host wait for the device, so there a fused optimizer is told by a
    number on the device, its `found_inf`, to leave the step out; the host reads the same steps later and then comes to
    the same verdict. Once it will be to stop, the device leaves out every step until the host has read.
    """

    def __init__(self, *, policy: Literal["stop", "skip"], max_skips: int) -> None:
        self.policy = policy
        self.max_skips = max_skips
        self.skipped = 0
        self.skipped_in_a_row = 0
        self.unread: list[tuple[int, Tensor]] = []  # optimizer step, (2,) loss and gradient norm
        self.streak: Tensor | None = None  # () steps left out in a row, counted on the device

    def inspect(self, *, loss: float, gradient_norm: float, step: int, optimizer: Optimizer) -> None:
        """Judge one optimizer step at once.

        Raises:
            Diverged: the policy is stop, or `max_skips` steps in a row were skipped.
        """
        if self._is_bad(step, loss, gradient_norm):
            optimizer.zero_grad(set_to_none=True)

    def defer(self, *, loss: Tensor, gradient_norm: Tensor, step: int, optimizer: Optimizer) -> None:
        """Judge one optimizer step on the device, () loss and () norm; for optimizers that `skips_on_device` names."""
        row = torch.stack((loss, gradient_norm.to(loss.dtype)))
        self.unread.append((step, row))
        if self.streak is None:
            self.streak = torch.zeros((), dtype=torch.int64, device=row.device)
        most = 1 if self.policy == "stop" else self.max_skips
        bad = ~torch.isfinite(row).all()
        self.streak = torch.where(self.streak >= most, self.streak, (self.streak + 1) * bad)
        optimizer.found_inf = (self.streak > 0).float()  # type: ignore[attr-defined]

    def read(self) -> None:
        """Let the host see the deferred steps it has not seen.

        Raises:
            Diverged: see `inspect`.
        """
        if self.unread:
            steps, rows = zip(*self.unread, strict=True)
            self.unread = []
            for step, (loss, norm) in zip(steps, torch.stack(rows).tolist(), strict=True):
                self._is_bad(step, loss, norm)

    def _is_bad(self, step: int, loss: float, gradient_norm: float) -> bool:
        if math.isfinite(loss) and math.isfinite(gradient_norm):
            self.skipped_in_a_row = 0
            return False
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
        return True


def skips_on_device(optimizer: Optimizer) -> bool:
    """Whether the optimizer's kernel itself leaves out a step whose `found_inf` is 1.

    Fused Adam does, moments and step count included. Fused SGD does not quite: left out at the first step it keeps a
    momentum that was never written.
    """
    return isinstance(optimizer, (Adam, AdamW)) and all(group["fused"] for group in optimizer.param_groups)


def gradient_norm(parameters: list[torch.nn.Parameter]) -> Tensor:
    """Euclidean norm of all gradients as one vector, on their device, shape ()."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
