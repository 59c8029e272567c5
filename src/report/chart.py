"""Line charts as inline SVG: whole without a script, which adds the values under the pointer and moves the marks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from src.report.axes import BOTTOM, HEIGHT, TOP, UNIT, WIDTH, Frame, nice_range
from src.report.markup import escape

_MOST_DOTS = 40  # more would hide the line
_COLOURS = 8  # of lines that belong to no split
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Line:
    """One line: its name in the legend, and its points; values that are not finite leave a gap.

    kind: train, val or test for the colour of that split, or line0 to line7; empty: by the place among the lines.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    kind: str = ""


@dataclass(frozen=True)
class Mover:
    """A mark that follows a slider (see slider.py): `places` names its places there, (x, y) is where it begins.

    kind: the colour, as that of a line. y None: a vertical line.
    """

    slider: str
    places: str
    x: float
    y: float | None = None
    kind: str = ""


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_name: str,
    y_name: str,
    unit: bool = False,
    mark: tuple[float, str] | None = None,
    reference: tuple[float, float] | None = None,
    movers: Sequence[Mover] = (),
    span: Sequence[float] = (),
    note: str = "",
) -> str:
    """A figure with a legend. Without `unit` (both axes from 0 to 1) the axes fit the points, x in whole numbers.

    mark: (x, words) of a vertical line. reference: heights of a dotted line at both ends. span: values
    that the horizontal axis must hold besides those of the lines. note: a sentence below.

    Returns nothing if no line has a finite point.
    """
    # Numbered before the empty ones go, so that a name keeps its colour in all charts.
    numbered = [
        (line.kind or f"line{i % _COLOURS}", line) for i, line in enumerate(lines) if any(map(math.isfinite, line.y))
    ]
    if not numbered:
        return ""
    across = UNIT if unit else nice_range([*span, *(x for _, line in numbered for x in line.x)], whole=True)
    up = UNIT if unit else nice_range([y for _, line in numbered for y in line.y])
    frame = Frame(across, up)
    parts = frame.drawn(x_name, y_name)
    if reference:
        ends = frame.point(across.low, reference[0]), frame.point(across.high, reference[1])
        parts.append(f'<path class="reference" d="M{ends[0]}L{ends[1]}"/>')
    if mark:
        parts.append(_marked(frame.x(mark[0]), mark[1]))
    parts += [_drawn(line, frame, kind=kind) for kind, line in numbered]
    parts += [_moved(mover, frame) for mover in movers]
    named = numbered if len(numbered) > 1 or numbered[0][1].name != y_name else []
    legend = "".join(f'<span><i class="{kind}"></i>{escape(line.name)}</span>' for kind, line in named)
    below = f'<p class="soft">{escape(note)}</p>' if note else ""
    body = "\n".join(parts)
    # Under the pointer: of a course along x its values there, else the nearest point, both numbers of it.
    names = f'data-names="{escape(f"{x_name}, {y_name}")}" data-flat' if unit else f'data-names="{escape(x_name)}"'
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>\n<p class="legend">{legend}</p>\n'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" {frame.attributes} {names}>\n'
        f"{body}\n</svg>{below}</figure>"
    )


def split_kind(name: str) -> str:
    """The colour of a metric's split: `val` for val/loss; empty for a name of none."""
    split = name.partition("/")[0]
    return split if split in _SPLITS else ""


def thinned(places: Sequence[float], values: Sequence[float], *, most: int = 300) -> tuple[list[float], list[float]]:
    """At most `most` points of a long line: of each stretch the lowest and the highest, so that no peak is lost."""
    if len(places) <= most:
        return list(places), list(values)
    kept: set[int] = {0, len(places) - 1}
    size = math.ceil(2 * len(places) / (most - 2))
    for start in range(0, len(places), size):
        stretch = [i for i in range(start, min(start + size, len(places))) if math.isfinite(values[i])]
        if stretch:
            kept |= {min(stretch, key=lambda i: values[i]), max(stretch, key=lambda i: values[i])}
        else:
            kept.add(start)  # the gap stays one
    chosen = sorted(kept)
    return [places[i] for i in chosen], [values[i] for i in chosen]


def _marked(at: float, words: str) -> str:
    anchor, shift = ("end", -6) if at > WIDTH / 2 else ("start", 6)
    line = f'<path class="mark" d="M{at:.1f},{TOP}V{HEIGHT - BOTTOM}"/>'
    return f'{line}<text x="{at + shift:.1f}" y="{TOP + 8}" text-anchor="{anchor}">{escape(words)}</text>'


def _drawn(line: Line, frame: Frame, *, kind: str) -> str:
    steps, dots, pen = [], [], "M"
    finite = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(x) and math.isfinite(y)]
    for x, y in zip(line.x, line.y, strict=True):
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        steps.append(f"{pen}{frame.point(x, y)}")
        pen = "L"
    if len(finite) <= _MOST_DOTS:
        # A title shows its words under the pointer without any script.
        dots = [
            f'<circle class="{kind}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3">'
            f"<title>{escape(line.name)} {y:.4g}</title></circle>"
            for x, y in finite
        ]
    points = " ".join(f"{x:.6g},{y:.6g}" for x, y in finite)
    named = f'data-name="{escape(line.name)}" data-points="{points}"'
    return f'<path class="{kind}" d="{"".join(steps)}" {named}/>{"".join(dots)}'


def _moved(mover: Mover, frame: Frame) -> str:
    follows = f'data-slider="{escape(mover.slider)}" data-places="{escape(mover.places)}"'
    if mover.y is None:
        return f'<path class="cursor {mover.kind}" d="M{frame.x(mover.x):.1f},{TOP}V{HEIGHT - BOTTOM}" {follows}/>'
    defined = math.isfinite(mover.x) and math.isfinite(mover.y)  # a precision of nothing is not
    place = f'cx="{frame.x(mover.x):.1f}" cy="{frame.y(mover.y):.1f}"' if defined else "hidden"
    return f'<circle class="point {mover.kind}" {place} r="6" {follows}/>'
