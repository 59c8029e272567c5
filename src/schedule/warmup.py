"""Warm-up and the one way a multiplier becomes a learning-rate schedule, stepped once per optimizer step."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from src.errors import UserError


def count_steps(value: int | float, *, total_steps: int, key: str) -> int:
    """Steps meant by `value`: a whole number counts steps, a fraction is that share of `total_steps`.

    Raises:
        UserError: the count is negative or exceeds `total_steps`, or the fraction lies outside [0, 1].
    """
    steps = value if isinstance(value, int) else round(value * total_steps)
    if value < 0 or steps > total_steps:
        raise UserError(
            f"{key} ({value}) must lie between 0 and the {total_steps} optimizer steps of this run; "
            "a whole number counts steps, a number like 0.1 is a share of them."
        )
    return steps


def ramp(step: int, *, warmup_steps: int) -> float:
    """Linear warm-up, (step + 1) / warmup_steps until it reaches 1, so that no step is taken at rate zero."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def per_step(optimizer: Optimizer, multiplier: Callable[[int], float]) -> dict[str, Any]:
    """Lightning's scheduler entry: learning rate = peak rate * multiplier(optimizer steps taken)."""
    return {"scheduler": LambdaLR(optimizer, multiplier), "interval": "step"}
