"""metrics.csv as numbers: all rows of it, or the last value of each column from its end alone."""

import csv
import os
from pathlib import Path

Row = dict[str, float]  # its cells that hold a number
_TAIL = 64 * 1024  # bytes from the end; a column that is not in them was not written for hundreds of rows


def read_rows(path: Path) -> list[Row]:
    """All rows, oldest first; none where there is no file. A line that is still being written is no row."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = text[: text.rfind("\n") + 1].replace("\0", "").splitlines()
    return _rows(lines[:1], lines[1:])


def last_values(path: Path) -> Row:
    """The last value of each column that has one in the last 64 KiB."""
    try:
        with open(path, "rb") as file:
            header = file.readline()
            start = max(len(header), os.fstat(file.fileno()).st_size - _TAIL)
            file.seek(start)
            tail = file.read()
    except OSError:
        return {}
    cut = tail.find(b"\n") + 1 if start > len(header) else 0
    text = (header + tail[cut : tail.rfind(b"\n") + 1]).decode(errors="replace").replace("\0", "")
    lines = text.splitlines()
    values: Row = {}
    for row in _rows(lines[:1], lines[1:]):
        values |= row
    return values


def _rows(header: list[str], lines: list[str]) -> list[Row]:
    columns = next(csv.reader(header), [])
    found = []
    for cells in csv.reader(lines):
        row: Row = {}
        for column, cell in zip(columns, cells, strict=False):  # a damaged line may have more or fewer
            if cell:
                try:
                    row[column] = float(cell)
                except ValueError:
                    continue
        if row:
            found.append(row)
    return found
