"""Line charts as inline SVG: no script, colours from the page's style, sharp at any width."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from src.report.markup import escape

_WIDTH, _HEIGHT = 480, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 14, 44  # room for the numbers and names of the axes
_MOST_DOTS = 40  # more would hide the line


@dataclass(frozen=True)
class Line:
    """One line: its name in the legend, and its points; values that are not finite leave a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


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


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_name: str,
    y_name: str,
    unit: bool = False,
    mark: tuple[float, str] | None = None,
    reference: tuple[float, float] | None = None,
) -> str:
    """A figure with a legend. Without `unit` (both axes from 0 to 1) the axes fit the points, x in whole numbers.

    mark: (x, words) of a vertical line. reference: heights of a dotted line at both ends.
    Returns nothing if no line has a finite point.
    """
    # Numbered before the empty ones go, so that a name keeps its colour in all charts.
    numbered = [(f"line{i % 4}", line) for i, line in enumerate(lines) if any(map(math.isfinite, line.y))]
    if not numbered:
        return ""
    lines = [line for _, line in numbered]
    across = UNIT if unit else nice_range([x for line in lines for x in line.x], whole=True)
    up = UNIT if unit else nice_range([y for line in lines for y in line.y])
    parts = [*_axes(across, up, x_name, y_name)]
    if reference:
        start, end = _place(across.low, reference[0], across, up), _place(across.high, reference[1], across, up)
        parts.append(f'<path class="reference" d="M{start}L{end}"/>')
    if mark:
        at = _across(mark[0], across)
        parts.append(f'<path class="mark" d="M{at:.1f},{_TOP}V{_HEIGHT - _BOTTOM}"/>')
        anchor = "end" if at > _WIDTH / 2 else "start"
        shift = -5 if anchor == "end" else 5
        parts.append(f'<text x="{at + shift:.1f}" y="{_TOP + 10}" text-anchor="{anchor}">{escape(mark[1])}</text>')
    parts += [_drawn(line, across, up, kind=kind) for kind, line in numbered]
    legend = "".join(f'<span><i class="{kind}"></i>{escape(line.name)}</span>' for kind, line in numbered)
    body = "\n".join(parts)
    return (
        f'<figure><figcaption>{escape(title)}</figcaption>\n<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">\n{body}\n</svg>\n<p class="legend">{legend}</p></figure>'
    )


def _axes(across: Range, up: Range, x_name: str, y_name: str) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for tick in up.ticks:
        y = _up(tick, up)
        parts.append(f'<path class="rule" d="M{_LEFT},{y:.1f}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for tick in across.ticks:
        x = _across(tick, across)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:.6g}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT},{_TOP}V{bottom}H{right}"/>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x_name)}</text>')
    height = (_TOP + bottom) / 2
    turned = f'transform="rotate(-90 12 {height})" text-anchor="middle"'
    parts.append(f'<text x="12" y="{height}" {turned}>{escape(y_name)}</text>')
    return parts


def _drawn(line: Line, across: Range, up: Range, *, kind: str) -> str:
    steps, dots, pen = [], [], "M"
    for x, y in zip(line.x, line.y, strict=True):
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        place = _place(x, y, across, up)
        steps.append(f"{pen}{place}")
        dots.append(place)
        pen = "L"
    drawn = f'<path class="{kind}" d="{"".join(steps)}"/>'
    if len(dots) <= _MOST_DOTS:
        for place in dots:
            x_text, y_text = place.split(",")
            drawn += f'<circle class="{kind}" cx="{x_text}" cy="{y_text}" r="2.5"/>'
    return drawn


def _place(x: float, y: float, across: Range, up: Range) -> str:
    return f"{_across(x, across):.1f},{_up(y, up):.1f}"


def _across(x: float, range_: Range) -> float:
    return _LEFT + (x - range_.low) / (range_.high - range_.low) * (_WIDTH - _LEFT - _RIGHT)


def _up(y: float, range_: Range) -> float:
    return _HEIGHT - _BOTTOM - (y - range_.low) / (range_.high - range_.low) * (_HEIGHT - _TOP - _BOTTOM)
