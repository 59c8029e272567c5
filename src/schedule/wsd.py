"""Warm up, stay, decay: a long plateau and a short linear end."""

from functools import partial
from typing import Annotated, Any

from torch.optim import Optimizer

from src.errors import UserError
from src.schedule.warmup import count_steps, per_step, ramp


def multiplier(step: int, *, warmup_steps: int, decay_steps: int, total_steps: int, floor: float) -> float:
    """Share of the peak rate at a step: ramp, then 1, then a line to `floor` over the last `decay_steps`.

    Hu et al., MiniCPM (2024), section 4; the decay here is linear.
    """
    decay_start = total_steps - decay_steps
    if step < decay_start:
        return ramp(step, warmup_steps=warmup_steps)
    progress = min(1.0, (step - decay_start) / max(1, decay_steps))
    return 1.0 - (1.0 - floor) * progress


def wsd(
    optimizer: Optimizer,
    *,
    total_steps: int,
    warmup: Annotated[int | float, ">= 0"] = 0,
    decay: Annotated[int | float, ">= 0"] = 0.2,
    floor: Annotated[float, ">= 0, <= 1"] = 0.0,
) -> dict[str, Any]:
    """Warm up over `warmup` steps, fall to `floor` over the last `decay` steps (counts, or shares of all)."""
    warmup_steps = count_steps(warmup, total_steps=total_steps, key="schedule.warmup")
    decay_steps = count_steps(decay, total_steps=total_steps, key="schedule.decay")
    if warmup_steps + decay_steps > total_steps:
        raise UserError(
            f"schedule.warmup ({warmup}) and schedule.decay ({decay}) together exceed the {total_steps} optimizer "
            "steps of this run; make one of them smaller."
        )
    steps = {"warmup_steps": warmup_steps, "decay_steps": decay_steps, "total_steps": total_steps}
    return per_step(optimizer, partial(multiplier, **steps, floor=floor))
