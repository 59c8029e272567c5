"""One learning rate for the whole run, after an optional warm-up."""

from typing import Annotated, Any

from torch.optim import Optimizer

from src.schedule.warmup import count_steps, per_step, ramp


def constant(optimizer: Optimizer, *, total_steps: int, warmup: Annotated[int | float, ">= 0"] = 0) -> dict[str, Any]:
    """Learning rate = peak, reached over `warmup` steps."""
    warmup_steps = count_steps(warmup, total_steps=total_steps, key="schedule.warmup")
    return per_step(optimizer, lambda step: ramp(step, warmup_steps=warmup_steps))
