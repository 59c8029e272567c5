"""Linear warm-up, then half a cosine down to a floor."""

import math
from functools import partial
from typing import Annotated, Any

from torch.optim import Optimizer

from src.schedule.warmup import count_steps, per_step, ramp


def multiplier(step: int, *, warmup_steps: int, total_steps: int, floor: float) -> float:
    """Share of the peak rate at a step: floor + (1 - floor) (1 + cos(pi p)) / 2, p = progress after the warm-up.

    Loshchilov and Hutter, SGDR (2017), equation 5, one period without restarts.
    """
    if step < warmup_steps:
        return ramp(step, warmup_steps=warmup_steps)
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def warmup_cosine(
    optimizer: Optimizer,
    *,
    total_steps: int,
    warmup: Annotated[int | float, ">= 0"] = 0,
    floor: Annotated[float, ">= 0, <= 1"] = 0.0,
) -> dict[str, Any]:
    """Warm up over `warmup` steps (a count, or a share of all), then fall to `floor` of the peak at the last step."""
    warmup_steps = count_steps(warmup, total_steps=total_steps, key="schedule.warmup")
    return per_step(optimizer, partial(multiplier, warmup_steps=warmup_steps, total_steps=total_steps, floor=floor))
