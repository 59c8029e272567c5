"""Measured cells to the rows that are printed: milliseconds, megabytes, ratios to naive, and powers of T."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

LABELS = {"forward": "forward", "both": "forward+backward"}
REFERENCE = "naive"


class Cell(NamedTuple):
    """One backend at one length; keys are those of LABELS, without `both` where there is no backward."""

    backend: str
    precision: str
    length: int
    seconds: dict[str, float]
    memory: dict[str, int | None]  # bytes; None where the system does not tell


def make_rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """One row per cell; `x less` is against naive, of a forward with its backward where the cell has one."""
    naive = {(cell.precision, cell.length): cell for cell in cells if cell.backend == REFERENCE}
    rows = []
    for cell in cells:
        row: dict[str, Any] = {"precision": cell.precision, "backend": cell.backend, "tokens": cell.length}
        row |= {f"{LABELS[name]} ms": 1000 * seconds for name, seconds in cell.seconds.items()}
        row |= {f"{LABELS[name]} MB": size / 1e6 for name, size in cell.memory.items() if size is not None}
        other = naive.get((cell.precision, cell.length))
        what = "both" if "both" in cell.seconds else "forward"
        if other is not None:
            row["x less time"] = other.seconds[what] / cell.seconds[what]
            most, mine = other.memory[what], cell.memory[what]
            if most is not None and mine:
                row["x less memory"] = most / mine
        rows.append(row)
    return rows


def growth_rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Per backend the power of T with which each figure grows; only where at least two lengths were measured."""
    rows = []
    for precision, backend in dict.fromkeys((cell.precision, cell.backend) for cell in cells):
        mine = [cell for cell in cells if (cell.precision, cell.backend) == (precision, backend)]
        row: dict[str, Any] = {"precision": precision, "backend": backend, "tokens": "power of T"}
        for name, label in LABELS.items():
            times = {cell.length: cell.seconds[name] for cell in mine if name in cell.seconds}
            sizes = {cell.length: size for cell in mine if (size := cell.memory.get(name))}
            for column, values in ((f"{label} ms", times), (f"{label} MB", sizes)):
                if len(values) > 1:
                    row[column] = power(list(values), list(values.values()))
        if len(row) > 3:
            rows.append(row)
    return rows


def power(lengths: Sequence[float], values: Sequence[float]) -> float:
    """The p of the least-squares line log(value) = p log(length) + c."""
    x, y = ([math.log(value) for value in side] for side in (lengths, values))
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return above / sum((a - x_mean) ** 2 for a in x)
