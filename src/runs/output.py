"""Rows for a terminal, a pipe or a program: a table fitted to the width, aligned plain text, JSON or CSV."""

import csv
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from src.runs.values import MISSING, TIMES, is_number, show

Row = dict[str, Any]
FORMATS = ("table", "json", "csv")
_STYLES = {"finished": "green", "failed": "red", "killed": "red", "running": "yellow", "unreadable": "red"}
_GAP = "  "
_LEAST_NOTE = 16  # letters of a last column that is cut where the terminal is too narrow for all of it


def print_rows(columns: Sequence[str], rows: Sequence[Row], *, form: str, droppable: Sequence[str] = ()) -> None:
    """Print what stands in `columns` of each row.

    droppable: columns that a terminal too narrow for all goes without, the least wanted first. A column of which no
    row has anything is left out of tables.
    """
    if form == "json":
        plain = [{name: _finite(row[name]) for name in columns if name in row} for row in rows]
        print(json.dumps(plain, indent=2, allow_nan=False))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_raw(row.get(name)) for name in columns] for row in rows)
    else:
        columns = [name for name in columns if any(name in row for row in rows)]
        cells = [[cell(name, row.get(name, MISSING)) for name in columns] for row in rows]
        right = {place for place, name in enumerate(columns) if any(is_number(row.get(name)) for row in rows)}
        if sys.stdout.isatty():
            _print_table(list(columns), cells, right=right, droppable=list(droppable))
        else:
            _print_plain(columns, cells, right=right)


def _finite(value: Any) -> Any:
    """The value, null where it is a number that JSON has not."""
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cell(name: str, value: Any) -> str:
    """A value as people read it: four decimals, times to the minute, one line without control characters."""
    if value is MISSING:
        return ""
    if isinstance(value, float):
        return number(value)
    text = show(value)
    if name in TIMES:
        text = text[:16].replace("T", " ")
    return "".join(letter if letter.isprintable() else " " for letter in text)


def number(value: float) -> str:
    """Four decimals, one from a hundred on, or four digits where those would hide it."""
    if value == 0 or 1e-2 <= abs(value) < 100:
        return f"{value:.4f}"
    return f"{value:.1f}" if 100 <= abs(value) < 1e6 else f"{value:.4g}"


def note(text: str) -> None:
    """Say something beside the rows, so that a program that reads those does not read this."""
    print(text, file=sys.stderr, flush=True)


def _raw(value: Any) -> Any:
    return "" if value is None else show(value) if isinstance(value, bool | list) else value


def _print_plain(columns: Sequence[str], cells: list[list[str]], *, right: set[int]) -> None:
    lines = [list(columns), *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [
            text.rjust(width) if place in right else text.ljust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        print(_GAP.join(padded).rstrip())


def _print_table(columns: list[str], cells: list[list[str]], *, right: set[int], droppable: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    places, room = _fitting(columns, cells, width=console.width, droppable=droppable)
    table = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="bold")
    for place in places:
        table.add_column(columns[place], justify="right" if place in right else "left", overflow="fold")
    for line in cells:
        texts = [_cut(line[place], room) if columns[place] == "note" else line[place] for place in places]
        table.add_row(*(Text(text, style=_STYLES.get(text, "")) for text in texts))
    console.print(table)


def _fitting(columns: list[str], cells: list[list[str]], *, width: int, droppable: list[str]) -> tuple[list[int], int]:
    """The places of the columns that a terminal has room for, and how many letters of a note."""
    longest = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    least = [min(_LEAST_NOTE, long) if name == "note" else long for name, long in zip(columns, longest, strict=True)]
    places = list(range(len(columns)))

    def room() -> int:
        return width - sum(least[place] + len(_GAP) for place in places) + len(_GAP)

    for name in droppable:
        if room() >= 0:
            break
        places = [place for place in places if columns[place] != name]
    return places, _LEAST_NOTE + max(0, room())


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"
