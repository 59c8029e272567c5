"""How a sweep went: the objective of each job with the best so far, two objectives against each other, importances."""

from collections.abc import Sequence
from dataclasses import dataclass

from src.report.axes import BOTTOM, HEIGHT
from src.report.markup import escape, shown
from src.report.overlay import Shown
from src.report.scale import Plot, figure, fit

_ROOM = 0.05  # around the dots


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A job and the values of its objectives; none if it has none."""

    job: Shown
    values: tuple[float, ...] = ()


def course(measured: Sequence[Measured], *, name: str, place: int, sign: int) -> str:
    """One objective by the number of the job, the best so far as stairs, jobs without a value as crosses below.

    sign: 1 where less is better, -1 where more is.
    """
    points = [(each.job.number, each.values[place], each) for each in measured if each.values]
    if not points:
        return ""
    numbers = [each.job.number for each in measured]
    plot = Plot(fit(numbers, whole=True, log=False), fit([value for _, value, _ in points], room=_ROOM))
    parts = plot.drawn("job", name)
    best, stairs = points[0][1], f"M{plot.point(*points[0][:2])}"
    for number, value, _ in points:
        stairs += f"H{plot.x(number):.1f}"
        if sign * value < sign * best:
            best = value
            stairs += f"V{plot.y(value):.1f}"
    parts.append(f'<path class="stairs" d="{stairs}H{plot.x(max(numbers)):.1f}"/>')
    for each in measured:
        x, said = plot.x(each.job.number), f"<title>{escape(each.job.name)}</title>"
        if each.values:
            parts.append(_dot(each.job, x, plot.y(each.values[place]), f"{name} {shown(each.values[place])}"))
        else:
            cross = f"M{x - 4:.1f},{HEIGHT - BOTTOM - 4}l8,8m0,-8l-8,8"
            parts.append(f'<path class="lost cross" d="{cross}" data-runs="{each.job.number}">{said}</path>')
    note = f"The line is the best {name} so far; a cross is a job without a value."
    return figure(f"{name} by job", parts, kind="points", note=note)


def against(measured: Sequence[Measured], names: Sequence[str], *, front: Sequence[int]) -> str:
    """The first two objectives against each other. front: numbers of the jobs that none other beats in all."""
    found = [each for each in measured if each.values]
    if not found:
        return ""
    columns = [[each.values[place] for each in found] for place in (0, 1)]
    plot = Plot(fit(columns[0], room=_ROOM), fit(columns[1], room=_ROOM))
    parts = plot.drawn(names[0], names[1])
    for each in found:
        x, y = plot.x(each.values[0]), plot.y(each.values[1])
        words = ", ".join(f"{name} {shown(value)}" for name, value in zip(names, each.values, strict=True))
        if each.job.number in front:
            parts.append(f'<circle class="front" cx="{x:.1f}" cy="{y:.1f}" r="8" data-runs="{each.job.number}"/>')
        parts.append(_dot(each.job, x, y, words))
    note = "A ringed job is beaten in all objectives by no other."
    return figure(f"{names[1]} against {names[0]}", parts, kind="points", note=note)


def _dot(job: Shown, x: float, y: float, words: str) -> str:
    said = f"<title>{escape(f'{job.name}: {words}')}</title>"
    return f'<circle {job.look} cx="{x:.1f}" cy="{y:.1f}" r="4.5" data-runs="{job.number}">{said}</circle>'


def bars(shares: dict[str, float]) -> str:
    """Shares from 0 to 1 as bars under each other."""
    rows = "".join(
        f'<div><span>{escape(key)}</span><span class="bar"><i style="width:{max(0.0, min(1.0, share)):.1%}"></i></span>'
        f"<b>{share:.0%}</b></div>"
        for key, share in shares.items()
    )
    return f'<div class="bars">{rows}</div>' if rows else ""
