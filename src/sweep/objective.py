"""What a search looks for: numbers of result.json, each to be made small or large."""

import difflib
import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from src.errors import UserError

KEY = "hydra.sweeper.objectives"
DIRECTIONS = ("minimize", "maximize")
# Numbers that every result.json has beside those of the validation.
COSTS = ("seconds", "parameters", "peak_memory_bytes", "epochs", "steps")


class Measured(NamedTuple):
    """values: of all objectives in their order, or None and the reason why there are none."""

    values: tuple[float, ...] | None
    reason: str | None = None


def check_objectives(objectives: Mapping[str, Any], *, known: Collection[str]) -> None:
    """Refuse before any job what no job would measure. known: metrics of the task's validation.

    Raises:
        UserError: naming the objective and what there is.
    """
    if not objectives:
        raise UserError(f"{KEY} is empty; name a metric, as val/loss: minimize.")
    legal = [*known, *COSTS]
    for name, direction in objectives.items():
        if name.startswith("test"):
            raise UserError(f"{KEY} has {name}: the test split is not for choosing. Use a metric of val.")
        if name not in legal:
            near = difflib.get_close_matches(name, legal, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UserError(f"{KEY} has {name}, which a run does not measure; it has {', '.join(legal)}.{hint}")
        if direction not in DIRECTIONS:
            raise UserError(f"{KEY}.{name} ({direction}) must be {' or '.join(DIRECTIONS)}.")


def measure(result: Mapping[str, Any] | None, objectives: Mapping[str, str]) -> Measured:
    """The objectives of a finished run; none of them counts if one is missing or no finite number."""
    if result is None:
        return Measured(None, "there is no result.json that can be read")
    values = []
    for name in objectives:
        value = result.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Measured(None, f"result.json has no number {name}")
        if not math.isfinite(value):
            return Measured(None, f"{name} is {value}")
        values.append(float(value))
    return Measured(tuple(values))
