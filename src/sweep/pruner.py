"""When a trial is ended early: pure functions of what it and the others have reported so far.

Optuna's own pruners keep notes in the storage while they decide, so that a decision which is taken again after a kill
comes out otherwise; these give the same answer to the same numbers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

from src.errors import UserError
from src.sweep.settings import named

KEY = "hydra.sweeper.pruner"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What another trial has reported: number of the validation (1, 2, ...) to value. finished: trained to its end."""

    values: Mapping[int, float]
    finished: bool


class Pruner(Protocol):
    """Decides after each validation."""

    def judge(self, own: Sequence[float], others: Sequence[Curve], *, maximize: bool) -> str | None:
        """Why a trial ends that has reported `own`, None while it goes on; follows the metric's name."""
        ...


@dataclass(frozen=True, kw_only=True)
class Median:
    """Ends a trial whose best value so far is worse than the median of the finished ones after as many validations.

    startup: finished trials before the first look; warmup: validations that each trial has in any case.
    """

    startup: int
    warmup: int

    def judge(self, own: Sequence[float], others: Sequence[Curve], *, maximize: bool) -> str | None:
        """See Pruner."""
        step = len(own)
        finished = [curve.values for curve in others if curve.finished]
        reached = [values[step] for values in finished if step in values]
        if step <= self.warmup or len(finished) < self.startup or not reached:
            return None
        best, middle = (max if maximize else min)(own), median(reached)
        if best >= middle if maximize else best <= middle:
            return None
        count = f"{len(reached)} finished trial{'s' * (len(reached) > 1)}"
        return f"{best:.4f} after validation {step} is worse than {middle:.4f}, the median of {count}"


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Asynchronous successive halving (Li et al., 2020, arxiv.org/abs/1810.05934): after `first`, `first` x factor,
    `first` x factor^2, ... validations only the best of every `factor` trials that came so far goes on.
    """

    first: int
    factor: int

    def __post_init__(self) -> None:
        if self.first < 1 or self.factor < 2:
            raise UserError(f"{KEY} (first {self.first}, factor {self.factor}) must have first >= 1 and factor >= 2.")

    def judge(self, own: Sequence[float], others: Sequence[Curve], *, maximize: bool) -> str | None:
        """See Pruner. As long as fewer than `factor` have come, the best one goes on."""
        step = len(own)
        rung = round(math.log(max(1, step / self.first), self.factor))
        if step != self.first * self.factor**rung:
            return None
        came = sorted([own[-1], *(curve.values[step] for curve in others if step in curve.values)], reverse=maximize)
        places = max(1, len(came) // self.factor)
        last = came[places - 1]
        if own[-1] >= last if maximize else own[-1] <= last:
            return None
        return f"{own[-1]:.4f} after validation {step} is worse than {last:.4f}, place {places} of {len(came)} trials"


PRUNERS: dict[str, Callable[..., Pruner]] = {"median": Median, "halving": Halving}


def make_pruner(settings: Mapping[str, Any], *, key: str = KEY) -> Pruner | None:
    """None for no settings: every trial is trained to its end.

    Raises:
        UserError: settings that are no pruner's.
    """
    return named(settings, PRUNERS, key=key) if settings else None


def check_pruned(objectives: list[str]) -> None:
    """Refuse a pruner that would have nothing to look at after a validation.

    Raises:
        UserError: there are two objectives, or the one is no metric of a validation.
    """
    if len(objectives) > 1:
        raise UserError(f"{KEY} needs one objective, and there are {len(objectives)}; take hydra/sweeper/pruner=none.")
    if not objectives[0].startswith("val/"):
        raise UserError(f"{KEY} needs an objective of val, as val/loss, and not {objectives[0]}.")
