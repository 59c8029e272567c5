"""The curves of many runs in one chart per metric, and a legend that switches runs on and off in all of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from src.report.chart import thinned
from src.report.markup import escape, grid
from src.report.read import choose_axis, series
from src.report.scale import Plot, figure, fit
from src.run.metrics import Row

_POINTS = 200  # of one curve, at most
_ALL_POINTS = 60_000  # of all curves on a page: 25 bytes each
_LEAST = 24
_CHARTS = (
    ("val/loss", "Validation loss"),
    ("train/loss", "Training loss"),
    ("val/acc", "Validation accuracy"),
    ("val/ppl", "Validation perplexity"),
)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A run on the page. number: its own, which switches and marks share; name: what the legend and the tip call it.

    look: attributes of its marks, see `coloured` and `scaled`.
    """

    number: int
    name: str
    look: str
    rows: Sequence[Row] = field(default_factory=tuple)


def coloured(place: int) -> str:
    """One of eight colours; from the ninth on they come again, dashed."""
    return f'class="line{place % 8}{" again" if place >= 8 else ""}"'


def scaled(share: float | None) -> str:
    """The colour between that of the best (0) and of the worst (1); without a share that of what was not measured."""
    return 'class="lost"' if share is None else f'class="scaled" style="--share:{share:.2f}"'


def legend(runs: Sequence[Shown], *, note: str = "") -> str:
    """A switch per run, and all or none of them; many scroll inside a box."""
    switches = "".join(
        f'<label data-marks="{run.number}"><input type="checkbox" class="scripted" data-switch="{run.number}" checked>'
        f"<i {run.look}></i>{escape(run.name)}</label>"
        for run in runs
    )
    buttons = (
        '<button type="button" class="scripted" data-switch-all="on">all</button>'
        '<button type="button" class="scripted" data-switch-all="">none</button>'
    )
    below = f'<p class="soft">{escape(note)}</p>' if note else ""
    return f'<div class="switches">{switches}</div><p class="stops">{buttons}</p>{below}'


def overlay(runs: Sequence[Shown]) -> str:
    """One chart per metric that some run has measured; runs are drawn in their order, the last one on top."""
    axes = {choose_axis(list(run.rows)) for run in runs if run.rows}
    axis = "epoch" if axes <= {"epoch"} else "step"
    found: dict[str, Mapping[int, tuple[list[float], list[float]]]] = {}
    for metric, _ in _CHARTS:
        curves = {run.number: series(list(run.rows), metric, axis=axis) for run in runs}
        found[metric] = {run: curve for run, curve in curves.items() if any(map(math.isfinite, curve[1]))}
    count = sum(map(len, found.values()))
    most = max(_LEAST, min(_POINTS, _ALL_POINTS // max(1, count)))
    charts = [
        _chart(runs, found[metric], title=f"{title} by {axis}", axis=axis, metric=metric, most=most)
        for metric, title in _CHARTS
        if found[metric]
    ]
    return grid(*charts)


def _chart(
    runs: Sequence[Shown],
    curves: Mapping[int, tuple[list[float], list[float]]],
    *,
    title: str,
    axis: str,
    metric: str,
    most: int,
) -> str:
    across = fit([x for xs, _ in curves.values() for x in xs], whole=True, log=False)
    plot = Plot(across, fit([y for _, ys in curves.values() for y in ys]))
    parts = plot.drawn(axis, metric)
    for run in runs:
        if run.number in curves:
            xs, ys = thinned(*curves[run.number], most=most)
            parts.append(_curve(run, plot, xs, ys))
    return figure(title, parts, kind="overlay", x_name=axis)


def _curve(run: Shown, plot: Plot, xs: Sequence[float], ys: Sequence[float]) -> str:
    steps, points, pen = [], [], "M"
    for x, y in zip(xs, ys, strict=True):
        # On a logarithmic scale nothing below zero has a place either.
        if math.isfinite(y) and not (plot.up.log and y <= 0):
            steps.append(f"{pen}{plot.point(x, y)}")
            points.append(f"{x:.6g},{y:.4g}")
            pen = "L"
        else:
            pen = "M"
    marks = f'data-runs="{run.number}" data-name="{escape(run.name)}" data-values="{" ".join(points)}"'
    if len(points) == 1:
        return f'<path {run.look} d="{steps[0]}h0" {marks}/>'  # round ends make a dot of it
    return f'<path {run.look} d="{"".join(steps)}" {marks}/>'
