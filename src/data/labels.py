"""Checks every text and label of a table before anything is trained on it."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from src.data.table import Table
from src.errors import UserError

_NAME = re.compile(r"[A-Za-z]\w{0,19}")
_DIGITS = re.compile(r"0|[1-9][0-9]{0,8}")


def check_label_names(label_names: Sequence[str]) -> None:
    """Raise UserError unless these are at least two different names."""
    if len(set(label_names)) < max(2, len(label_names)):
        raise UserError(f"data.label_names ({label_names}) must be at least two different names.")


def label_numbers(table: Table, label_names: Sequence[str]) -> np.ndarray:
    """Turn labels into numbers 0 .. n-1; returns (N,) int64.

    Legal are the integers 0 .. n-1, the same as digits in text files, or the names themselves, but only one of the
    three kinds in a table. True, 1.0 and -1 are not labels. Raises UserError with the number of bad rows and the
    place of the first.
    """
    numbers = {name: number for number, name in enumerate(label_names)}
    kind = next((found for found in map(_kind(numbers), table.labels) if found), "")
    readers: dict[str, Callable[[Any], int]] = {"name": numbers.__getitem__, "digits": int, "integer": int, "": int}
    kind_of, read = _kind(numbers), readers[kind]
    bad = [row for row, label in enumerate(table.labels) if kind_of(label) != kind or not kind]
    if bad:
        raise UserError(
            f"{len(bad)} of {len(table.labels)} rows {_have(bad)} a label that is not legal, "
            f"first {table.where(bad[0])}: "
            f"{_show(table.labels[bad[0]])}. Labels must be 0 to {len(label_names) - 1} or one of "
            f"{', '.join(label_names)} (data.label_names), and not a mixture.{_way_out(table.labels, len(label_names))}"
        )
    return np.array([read(label) for label in table.labels], dtype=np.int64)


def _way_out(labels: Sequence[Any], count: int) -> str:
    """The settings with which the words in the column would be legal, if they read like names."""
    found = sorted({label for label in labels if isinstance(label, str) and _NAME.fullmatch(label)})
    if len(found) < 2 or len(found) > 9 or any(label not in found for label in labels):
        return ""
    more = "" if len(found) == count else f" model.num_classes={len(found)} task.num_classes={len(found)}"
    return f" For what stands there: 'data.label_names=[{','.join(found)}]'{more}."


def _kind(numbers: dict[str, int]) -> Callable[[Any], str]:
    def kind(label: Any) -> str:
        if isinstance(label, str):
            if label in numbers:
                return "name"
            return "digits" if _DIGITS.fullmatch(label) and int(label) < len(numbers) else ""
        return "integer" if type(label) is int and 0 <= label < len(numbers) else ""

    return kind


def check_texts(table: Table) -> list[str]:
    """Return the texts if all of them are text; an empty one is legal, a missing one is not."""
    bad = [row for row, text in enumerate(table.texts) if not isinstance(text, str)]
    if bad:
        raise UserError(
            f"{len(bad)} of {len(table.texts)} rows {_have(bad)} no text, first {table.where(bad[0])}: "
            f"{_show(table.texts[bad[0]])}. Fill them in or delete the rows; an empty text is allowed."
        )
    if len(table.texts) > 1 and not any(text.strip() for text in table.texts):
        raise UserError(f"All {len(table.texts)} texts of {table.origin} are empty; set data.text_column to another.")
    return list(table.texts)


def _show(value: Any) -> str:
    text = repr(value)
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    return f"{shown} ({'missing' if value is None else type(value).__name__})"


def _have(rows: list[int]) -> str:
    return "has" if len(rows) == 1 else "have"
