"""The learning curves of a run: what they say in words, a slider over the epochs, charts with the best epoch marked."""

import math
from dataclasses import dataclass

from src.report.chart import Line, Mover, line_chart, split_kind
from src.report.markup import METRICS, Markup, folded, grid, paragraph, section, shown, table
from src.report.read import RunFiles, choose_axis, label_names, series
from src.report.slider import Slider
from src.report.verdict import judge

_CHARTS = (
    ("Loss", "loss", ("train/loss", "val/loss")),
    ("Accuracy", "accuracy", ("train/acc", "val/acc")),
    ("Perplexity", "perplexity", ("train/ppl", "val/ppl")),
    ("Bits per byte", "bits per byte", ("val/bits_per_byte",)),
)
_BY_STEP = ("gradient_norm", "learning_rate")  # shown with the steps


@dataclass(frozen=True)
class Course:
    """Metrics by place: each name in train/ and val/ with its values, all places in order, the best one."""

    axis: str
    values: dict[str, dict[float, float]]
    places: list[float]
    best: float | None

    @property
    def metrics(self) -> list[str]:
        """Names without their split, loss first."""
        names = {name.partition("/")[2] for name in self.values}
        return sorted(names, key=lambda name: (name != "loss", name))


def read_course(files: RunFiles) -> Course:
    """All that was measured along the epochs, or along the steps of a run that validated inside an epoch."""
    axis = choose_axis(files.rows)
    names = sorted({name for row in files.rows for name in row if split_kind(name) in ("train", "val")})
    names = [name for name in names if name.partition("/")[2] not in _BY_STEP]
    values = {name: dict(zip(*series(files.rows, name, axis=axis), strict=True)) for name in names}
    values = {name: found for name, found in values.items() if found}
    places = sorted({place for found in values.values() for place in found})
    return Course(axis, values, places, best_place(files, axis=axis))


def learning_section(files: RunFiles) -> str:
    """The verdict, the slider with the numbers of one epoch, one chart per metric, and all numbers as a table."""
    if not files.rows:
        return section("Learning curves", paragraph("No metrics were recorded.", kind="missing"))
    course = read_course(files)
    if not course.places:
        return section("Learning curves", paragraph("No epoch was finished.", kind="missing"))
    verdict = judge(
        course.values.get("train/loss", {}),
        course.values.get("val/loss", {}),
        axis=course.axis,
        guessing=_loss_of_guessing(files),
    )
    slider = _slider(course)
    control = slider.drawn() if len(course.places) > 1 else ""
    return section(
        "Learning curves",
        verdict.drawn() if verdict else "",
        control,
        Markup(f'<div class="beside">{_readout(course, slider)}{grid(*_charts(course, slider))}</div>'),
        folded("All numbers", _numbers(course)),
    )


def best_place(files: RunFiles, *, axis: str) -> float | None:
    """The epoch (or step) with the best finite value of the monitored metric, the earliest of equals."""
    monitor, mode = ("val/loss", "min") if files.best is None else (files.best.monitor, files.best.mode)
    places, values = series(files.rows, monitor, axis=axis)
    sign = 1 if mode == "min" else -1
    finite = [(sign * value, place) for place, value in zip(places, values, strict=True) if math.isfinite(value)]
    return min(finite)[1] if finite else None


def _loss_of_guessing(files: RunFiles) -> float | None:
    """ln C of a classifier; a language model has no such simple bound."""
    found = next(iter(files.predictions.values()), None)
    if found is not None:
        return math.log(found.probabilities.shape[1])
    names = label_names(files) if any("val/acc" in row for row in files.rows) else []
    return math.log(len(names)) if names else None


def _slider(course: Course) -> Slider:
    places, last = course.places, course.places[-1]
    start = places.index(course.best) if course.best in places else len(places) - 1
    words = [f"{place:g} of {last:g}{', the best' if place == course.best else ''}" for place in places]
    cells = {name: [shown(found.get(place)) for place in places] for name, found in course.values.items()}
    stops = {f"best {course.axis}": start} if course.best in places else {}
    stops |= {"last": len(places) - 1}
    return Slider(
        name="epoch",
        label=course.axis.capitalize(),
        words=words,
        start=start,
        cells=cells,
        places={"epoch": [(place,) for place in places]},
        stops=stops,
    )


def _readout(course: Course, slider: Slider) -> str:
    rows = []
    for metric in course.metrics:
        cells = [
            Markup(slider.cell(f"{split}/{metric}")) if f"{split}/{metric}" in course.values else None
            for split in ("train", "val")
        ]
        rows.append((METRICS.get(metric, metric.replace("_", " ")), *cells))
    return table([f"in this {course.axis}", "training", "validation"], rows, kind="numbers")


def _charts(course: Course, slider: Slider) -> list[str]:
    mark = None if course.best is None else (course.best, f"best {course.axis} {course.best:g}")
    movers = [Mover(slider.name, "epoch", course.places[slider.start])] if len(course.places) > 1 else []
    return [
        line_chart(
            [
                Line(name, list(course.values[name]), list(course.values[name].values()), split_kind(name))
                for name in names
                if name in course.values
            ],
            title=f"{title} by {course.axis}",
            x_name=course.axis,
            y_name=y_name,
            mark=mark,
            movers=movers,
            span=course.places,
        )
        for title, y_name, names in _CHARTS
    ]


def _numbers(course: Course) -> str:
    rows = [(f"{place:g}", *(found.get(place) for found in course.values.values())) for place in course.places]
    return table([course.axis, *course.values], rows, kind="numbers")
