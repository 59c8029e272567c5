"""The axes of a search: numbers between bounds, or words; drawn values are what overrides say."""

import math
from dataclasses import dataclass

# Digits that a drawn number keeps: overrides are read by people, and no metric answers to the fifth digit.
DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class Real:
    """Any number from low to high, drawn evenly, or evenly in its logarithm."""

    low: float
    high: float
    log: bool = False

    @property
    def count(self) -> None:
        """Not to be counted."""

    def round(self, value: float) -> float:
        """The number as it is written into an override."""
        return min(max(float(f"{value:.{self.digits}g}"), self.low), self.high)

    @property
    def digits(self) -> int:
        """How many of a drawn number are written: more than DIGITS where bounds so close would have few between them.

        A hundred steps or more lie between them.
        """
        highest, width = max(abs(self.low), abs(self.high)), self.high - self.low
        order = math.floor(math.log10(width) + 1e-9)  # 1.0 - 0.9 is a little below 0.1
        return max(DIGITS, math.floor(math.log10(highest)) - order + 3)

    def __str__(self) -> str:
        return f"{'log' if self.log else 'interval'}({self.low!r}, {self.high!r})"


@dataclass(frozen=True, kw_only=True)
class Whole:
    """The whole numbers low, low + step, ... up to high, which is one of them."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.values)

    @property
    def values(self) -> range:
        """All of them."""
        return range(self.low, self.high + 1, self.step)

    def __str__(self) -> str:
        if self.log:
            return f"int(log({self.low}, {self.high}))"
        return f"int({self.low}, {self.high}{f', {self.step}' if self.step > 1 else ''})"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of these texts, each as it stands behind the `=` of an override; a single one is a constant."""

    values: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.values)

    def __str__(self) -> str:
        return f"choice({', '.join(self.values)})"


Axis = Real | Whole | Choice
