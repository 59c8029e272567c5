"""The measured cells as a page of charts: memory and time against the number of tokens."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from src.benchmark.attention_rows import LABELS, Cell
from src.report.chart import Line, line_chart
from src.report.markup import grid, section
from src.report.page import page


def write_plot(cells: Sequence[Cell], *, folder: str, title: str) -> Path:
    """Write one self-contained page into `folder`, which is made if it is not there."""
    path = Path(folder) / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_attention.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(cells, title=title), encoding="utf-8")
    return path


def render(cells: Sequence[Cell], *, title: str) -> str:
    """A section per precision: megabytes and milliseconds of a forward with its backward, and of a forward alone."""
    sections = [
        section(precision, grid(*(chart for name in reversed(LABELS) for chart in charts(cells, precision, name))))
        for precision in dict.fromkeys(cell.precision for cell in cells)
    ]
    return page(title, sections)


def charts(cells: Sequence[Cell], precision: str, name: str) -> list[str]:
    """Memory and time of one measured thing, a line per backend."""
    memory, time = [], []
    for backend in dict.fromkeys(cell.backend for cell in cells):
        mine = [cell for cell in cells if (cell.backend, cell.precision) == (backend, precision)]
        lengths = [cell.length for cell in mine]
        sizes = [cell.memory.get(name) for cell in mine]
        memory.append(Line(backend, lengths, [float("nan") if size is None else size / 1e6 for size in sizes]))
        time.append(Line(backend, lengths, [1000 * cell.seconds.get(name, float("nan")) for cell in mine]))
    drawn = [("memory above the inputs", "MB", memory), ("time", "ms", time)]
    return [
        line_chart(lines, title=f"{LABELS[name]}: {what}", x_name="tokens", y_name=unit) for what, unit, lines in drawn
    ]
