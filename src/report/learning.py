"""The learning curves of a run, with its best epoch marked."""

import math

from src.report.chart import Line, line_chart
from src.report.markup import folded, grid, paragraph, section, table
from src.report.read import RunFiles, choose_axis, series

_CHARTS = (
    ("Loss", ("train/loss", "val/loss")),
    ("Accuracy", ("train/acc", "val/acc")),
    ("Perplexity", ("train/ppl", "val/ppl")),
    ("Bits per byte", ("val/bits_per_byte",)),
)


def learning_section(files: RunFiles) -> str:
    """One chart per metric that was measured, and the numbers behind them."""
    if not files.rows:
        return section("Learning curves", paragraph("No metrics were recorded.", kind="missing"))
    axis = choose_axis(files.rows)
    best = best_place(files, axis=axis)
    mark = None if best is None else (best, f"best {axis} {best:g}")
    charts = [
        line_chart(
            [Line(name, *series(files.rows, name, axis=axis)) for name in names],
            title=f"{title} by {axis}",
            x_name=axis,
            y_name=title.lower(),
            mark=mark,
        )
        for title, names in _CHARTS
    ]
    return section("Learning curves", grid(*charts), folded("Numbers", _numbers(files, axis=axis)))


def best_place(files: RunFiles, *, axis: str) -> float | None:
    """The epoch (or step) with the best finite value of the monitored metric, the earliest of equals."""
    monitor, mode = ("val/loss", "min") if files.best is None else (files.best.monitor, files.best.mode)
    places, values = series(files.rows, monitor, axis=axis)
    sign = 1 if mode == "min" else -1
    finite = [(sign * value, place) for place, value in zip(places, values, strict=True) if math.isfinite(value)]
    return min(finite)[1] if finite else None


def _numbers(files: RunFiles, *, axis: str) -> str:
    names = sorted({name for row in files.rows for name in row if name.startswith(("train/", "val/"))})
    columns = {name: dict(zip(*series(files.rows, name, axis=axis), strict=True)) for name in names}
    places = sorted({place for column in columns.values() for place in column})
    rows = [(f"{place:g}", *(column.get(place) for column in columns.values())) for place in places]
    return table([axis, *names], rows)
