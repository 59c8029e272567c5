"""Scales of charts about many runs: logarithmic where values spread widely, words as places side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from src.report.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, nice_range, number
from src.report.markup import escape

WIDE = 20.0  # positive values of which the largest is more than so many times the smallest are drawn by their logarithm
_FEW = 6  # different values up to which each one has its tick


@dataclass(frozen=True)
class Scale:
    """From a value to its share of an axis, 0 to 1. ticks: (value, what stands there); words: not numbers but these."""

    low: float
    high: float
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()
    words: tuple[str, ...] = ()

    def share(self, value: float) -> float:
        """Where a number is."""
        low, high = (math.log(bound) if self.log else bound for bound in (self.low, self.high))
        return ((math.log(value) if self.log else value) - low) / (high - low)

    def value(self, share: float) -> float:
        """The other way round."""
        low, high = (math.log(bound) if self.log else bound for bound in (self.low, self.high))
        found = low + share * (high - low)
        return math.exp(found) if self.log else found


def fit(
    values: Sequence[float], *, whole: bool = False, each: bool = False, log: bool | None = None, room: float = 0.0
) -> Scale:
    """A scale around the finite values.

    whole: ticks at whole numbers. each: ticks at the values themselves, if few. log: None lets the values decide.
    room: share of the axis that is left free at both ends.
    """
    finite = sorted({value for value in values if math.isfinite(value)})
    if log is None:
        log = len(finite) > 1 and finite[0] > 0 and finite[-1] > WIDE * finite[0]
    found = nice_range(finite, whole=whole)
    ticks: Sequence[float] = _powers(found.low, found.high) if log else found.ticks
    if each and 0 < len(finite) <= _FEW:
        ticks = finite
    scale = Scale(found.low, found.high, log, tuple((tick, number(tick)) for tick in ticks))
    return replace(scale, low=scale.value(-room), high=scale.value(1 + room)) if room else scale


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten from low to high; also 2 and 5 times those where that makes fewer than three."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        inside = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(inside) >= 3:
            break
    return inside[:: math.ceil(len(inside) / 7)] if inside else [low, high]


def of_words(words: Sequence[str]) -> Scale:
    """Words at even distances, the first one at the foot of the axis; a single one in its middle."""
    if len(words) == 1:
        return Scale(-1.0, 1.0, ticks=((0.0, words[0]),), words=tuple(words))
    return Scale(
        0.0, len(words) - 1.0, ticks=tuple((float(i), word) for i, word in enumerate(words)), words=tuple(words)
    )


@dataclass(frozen=True)
class Plot:
    """Two scales and the drawing that they span, as large as the charts of one run."""

    across: Scale
    up: Scale

    def point(self, x: float, y: float) -> str:
        """A place, as a path wants it."""
        return f"{self.x(x):.1f},{self.y(y):.1f}"

    def x(self, value: float) -> float:
        """Along the horizontal axis."""
        return LEFT + self.across.share(value) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Along the vertical axis."""
        return HEIGHT - BOTTOM - self.up.share(value) * (HEIGHT - TOP - BOTTOM)

    def drawn(self, x_name: str, y_name: str) -> list[str]:
        """Grid, numbers and names."""
        right, bottom, parts = WIDTH - RIGHT, HEIGHT - BOTTOM, []
        for tick, words in self.up.ticks:
            parts.append(f'<path class="rule" d="M{LEFT},{self.y(tick):.1f}H{right}"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{self.y(tick) + 4:.1f}" text-anchor="end">{escape(words)}</text>')
        for tick, words in self.across.ticks:
            parts.append(f'<text x="{self.x(tick):.1f}" y="{bottom + 17}" text-anchor="middle">{escape(words)}</text>')
        parts.append(f'<path class="axis" d="M{LEFT},{bottom}H{right}"/>')
        parts.append(f'<text class="name" x="0" y="13">{escape(_named(y_name, self.up))}</text>')
        last = f'x="{right}" y="{HEIGHT - 4}" text-anchor="end"'
        parts.append(f'<text class="name" {last}>{escape(_named(x_name, self.across))}</text>')
        return parts


def _named(name: str, scale: Scale) -> str:
    return f"{name}, logarithmic" if scale.log else name


def figure(title: str, body: Sequence[str], *, kind: str, note: str = "", x_name: str = "") -> str:
    """A drawing of the usual size with its title. x_name: what a tip calls the horizontal axis."""
    below = f'<p class="soft">{escape(note)}</p>' if note else ""
    inside, name = "\n".join(body), escape(title)
    return (
        f'<figure class="{kind}" data-across="{escape(x_name)}"><figcaption>{name}</figcaption>\n'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">\n{inside}\n</svg>{below}</figure>'
    )


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The shortest ends of dotted keys that tell them apart: `optimizer.lr` is `lr` where no other key ends in that."""
    names = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = [other for other in keys if other != key]
        names[key] = next((end for end in ends if not any(f".{o}".endswith(f".{end}") for o in others)), key)
    return names
