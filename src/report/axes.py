"""The frame of a chart: from values to places on the drawing, round ticks, grid and names of the axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from src.report.markup import escape

WIDTH, HEIGHT = 420, 270
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 30, 42  # room for the numbers and names of the axes


@dataclass(frozen=True)
class Range:
    """The values that one axis shows, and where its numbers stand."""

    low: float
    high: float
    ticks: tuple[float, ...]


UNIT = Range(0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))


def nice_range(values: Sequence[float], *, whole: bool = False) -> Range:
    """A range around the finite values with about five round ticks; `whole` allows whole numbers only."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if low == high:
        margin = 0.5 if whole else abs(low) / 10 or 0.5
        low, high = low - margin, high + margin
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, round(step))
    slack = (high - low) / step * 1e-9  # so that rounding does not cost the tick at an end
    first, last = math.ceil(low / step - slack), math.floor(high / step + slack)
    return Range(low, high, tuple(index * step for index in range(first, last + 1)))


@dataclass(frozen=True)
class Frame:
    """Both axes; places are in units of the drawing, from its upper left corner."""

    across: Range
    up: Range

    def x(self, value: float) -> float:
        """The place of a value along the horizontal axis."""
        share = (value - self.across.low) / (self.across.high - self.across.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """The place of a value along the vertical axis."""
        return HEIGHT - BOTTOM - (value - self.up.low) / (self.up.high - self.up.low) * (HEIGHT - TOP - BOTTOM)

    def point(self, x: float, y: float) -> str:
        """Both, as a path wants them."""
        return f"{self.x(x):.1f},{self.y(y):.1f}"

    @property
    def attributes(self) -> str:
        """What the script needs to place a slider's line and to read a value under the pointer."""
        sides = f"{LEFT} {WIDTH - RIGHT} {TOP} {HEIGHT - BOTTOM}"
        across, up = (f"{axis.low!r} {axis.high!r}" for axis in (self.across, self.up))
        return f'data-frame="{sides}" data-across="{across}" data-up="{up}"'

    def drawn(self, x_name: str, y_name: str) -> list[str]:
        """Grid, numbers, and both names where no line can be: above the axis, and below its end."""
        right, bottom, parts = WIDTH - RIGHT, HEIGHT - BOTTOM, []
        for tick in self.up.ticks:
            y = self.y(tick)
            parts.append(f'<path class="rule" d="M{LEFT},{y:.1f}H{right}"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
        for tick in self.across.ticks:
            parts.append(f'<text x="{self.x(tick):.1f}" y="{bottom + 17}" text-anchor="middle">{number(tick)}</text>')
        parts.append(f'<path class="axis" d="M{LEFT},{bottom}H{right}"/>')
        parts.append(f'<text class="name" x="0" y="13">{escape(y_name)}</text>')
        parts.append(f'<text class="name" x="{right}" y="{HEIGHT - 4}" text-anchor="end">{escape(x_name)}</text>')
        return parts


def number(value: float) -> str:
    """A tick's number, short enough for the margin: 12k for 12,000."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.4g}M"
    return f"{value / 1e3:.4g}k" if abs(value) >= 1e4 else f"{value:.4g}"
