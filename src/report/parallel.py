"""Parallel coordinates: an upright axis per swept key and objective, a line per job; ranges are dragged on the axes."""

from collections.abc import Sequence
from dataclasses import dataclass

from src.report.markup import escape
from src.report.overlay import Shown
from src.report.scale import Scale

_HEIGHT, _TOP, _BOTTOM, _SIDE = 350, 58, 46, 70
_STEP, _LEAST_WIDTH = 130, 900  # from axis to axis; narrower screens scroll inside the figure
_NONE = -0.11  # the share of a job that has no such value: below the axis
_BAND = 34  # across an axis, where a range can be dragged
_LETTERS = 13
_MANY = 100  # jobs from which on their lines are fainter


@dataclass(frozen=True, kw_only=True)
class Axis:
    """name: above it, note: below that, full: under the pointer. places: the share of each job, None without one."""

    name: str
    full: str
    scale: Scale
    places: Sequence[float | None]
    note: str = ""


def parallel(axes: Sequence[Axis], jobs: Sequence[Shown]) -> str:
    """The figure; `places` of the axes go along with `jobs`, which are drawn in their order, the last one on top."""
    width = max(_LEAST_WIDTH, _STEP * (len(axes) - 1) + 2 * _SIDE)
    across = [_SIDE + i * (width - 2 * _SIDE) / max(1, len(axes) - 1) for i in range(len(axes))]
    lines = [_line(job, [axis.places[i] for axis in axes], across) for i, job in enumerate(jobs)]
    drawn = [_axis(axis, x, place) for place, (axis, x) in enumerate(zip(axes, across, strict=True))]
    body, kind = "\n".join([*lines, *drawn]), "parallel many" if len(jobs) > _MANY else "parallel"
    return (
        '<figure class="parallels"><figcaption>One line per job</figcaption>\n'
        '<p class="soft scripted">Drag along an axis to keep the jobs in that range, on all of the page; '
        "tap it to let go. "
        f'<output data-shown-runs="jobs">{len(jobs)} of {len(jobs)} jobs</output> '
        '<button type="button" data-clear>show all</button></p>\n'
        f'<div class="wide"><svg class="{kind}" viewBox="0 0 {width} {_HEIGHT}" style="--wide:{width}px" '
        f'data-sides="{_TOP} {_HEIGHT - _BOTTOM}" role="img" aria-label="One line per job">\n'
        f"{body}\n</svg></div></figure>"
    )


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _line(job: Shown, places: Sequence[float | None], across: Sequence[float]) -> str:
    shares = [_NONE if place is None else place for place in places]
    path = "L".join(f"{x:.0f},{_y(share):.1f}" for x, share in zip(across, shares, strict=True))
    kept = " ".join(f"{share:.4f}" for share in shares)
    marks = f'data-runs="{job.number}" data-shares="{kept}"'
    return f'<path {job.look} d="M{path}" {marks}><title>{escape(job.name)}</title></path>'


def _axis(axis: Axis, x: float, place: int) -> str:
    top, bottom = _y(1), _y(0)
    parts = [f'<path class="axis" d="M{x:.0f},{top}V{bottom}"/>']
    for value, words in axis.scale.ticks:
        y = _y(axis.scale.share(value))
        short = words if len(words) <= _LETTERS else f"{words[: _LETTERS - 1]}…"
        parts.append(f'<path class="axis" d="M{x - 4:.0f},{y:.1f}h8"/>')
        parts.append(
            f'<text class="on" x="{x + 8:.0f}" y="{y + 4:.1f}">{escape(short)}<title>{escape(words)}</title></text>'
        )
    if None in axis.places:
        parts.append(f'<text class="on" x="{x + 8:.0f}" y="{_y(_NONE) + 4:.1f}">none</text>')
    note = axis.note or ("logarithmic" if axis.scale.log else "")
    parts.append(f'<text class="title" x="{x:.0f}" y="20" text-anchor="middle">{escape(axis.name)}</text>')
    parts.append(f'<text x="{x:.0f}" y="37" text-anchor="middle">{escape(note)}</text>')
    room = f'x="{x - _BAND / 2:.0f}" y="{top - 8}" width="{_BAND}" height="{_y(_NONE) - top + 18:.0f}"'
    parts.append(f'<rect class="band scripted" {room} data-axis="{place}"><title>{escape(axis.full)}</title></rect>')
    parts.append(f'<rect class="brush" x="{x - 9:.0f}" width="18" y="0" height="0" data-brush="{place}" hidden/>')
    return "".join(parts)
