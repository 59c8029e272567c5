"""Linear warm-up, then a straight line down to a floor."""

from functools import partial
from typing import Annotated, Any

from torch.optim import Optimizer

from src.schedule.warmup import count_steps, per_step, ramp


def multiplier(step: int, *, warmup_steps: int, total_steps: int, floor: float) -> float:
    """Share of the peak rate at a step: 1 - (1 - floor) p, p = progress after the warm-up."""
    if step < warmup_steps:
        return ramp(step, warmup_steps=warmup_steps)
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return 1.0 - (1.0 - floor) * progress


def warmup_linear(
    optimizer: Optimizer,
    *,
    total_steps: int,
    warmup: Annotated[int | float, ">= 0"] = 0,
    floor: Annotated[float, ">= 0, <= 1"] = 0.0,
) -> dict[str, Any]:
    """Warm up over `warmup` steps (a count, or a share of all), then fall to `floor` of the peak at the last step."""
    warmup_steps = count_steps(warmup, total_steps=total_steps, key="schedule.warmup")
    return per_step(optimizer, partial(multiplier, warmup_steps=warmup_steps, total_steps=total_steps, floor=floor))
