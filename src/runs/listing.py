"""`ls`: the runs below a folder, filtered, sorted, as many as asked for."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.run.index import RunRecord, read_runs
from src.runs.filters import explain_none, select
from src.runs.output import FORMATS, Row, note, print_rows
from src.runs.sweeps import list_sweeps, sweeps_in
from src.runs.values import FIELDS, MISSING, check_known, value_of
from src.runs.words import Words, boolean, count_or_all, folder, name_list, one_of, read_words, text

LIMIT = 30  # rows of a table, unless limit= says otherwise
_METRICS = ("val/loss", "val/acc", "val/f1", "val/ppl", "test/acc", "test/f1", "test/ppl")
COLUMNS = ("run", "model", "state", "started", "epochs", *_METRICS, "seconds", "note")
# What a terminal too narrow for all goes without, first to last.
_DROPPABLE = (
    "seconds", "started", "test/f1", "val/f1", "model", "epochs", "test/ppl", "test/acc", "note", "val/ppl", "val/acc",
)  # fmt: skip
OPTIONS = {
    "sort": text,
    "columns": name_list,
    "limit": count_or_all,
    "format": one_of(*FORMATS),
    "root": folder,
    "sweeps": boolean,
}


def ls(typed: Sequence[str]) -> None:
    """Print the runs that fit; newest first, or as `sort` says."""
    words = read_words(typed, options=OPTIONS, names=["[folder]"], filters=True)
    root = _root(words)
    if words.options.get("sweeps", sweeps_in(root)):
        list_sweeps(root, words)
        return
    records = read_runs(root)
    found = select(records, words.filters, options=OPTIONS)
    if not found:
        note(explain_none(records, words.filters, root=root))
    form = words.options.get("format", "table")
    typed_columns = words.options.get("columns", [])
    check_known(records, [name for name in typed_columns if name not in COLUMNS])
    ordered = order(found, words.options.get("sort", ""), known=records)
    limit = words.options.get("limit", LIMIT if form == "table" else None)
    shown = ordered[:limit]
    columns: Sequence[str] = list(dict.fromkeys(["run", *typed_columns])) if typed_columns else COLUMNS
    if form == "table" or typed_columns:
        rows = [row_of(record, columns) for record in shown]
    else:
        rows = [{**record.metrics, **row_of(record, tuple(FIELDS))} for record in shown]
        columns = list(dict.fromkeys(name for row in [dict.fromkeys(FIELDS), *rows] for name in row))
    if rows or form != "table":
        print_rows(columns, rows, form=form, droppable=() if typed_columns else _DROPPABLE)
    if len(shown) < len(found):
        note(f"{len(shown)} of {len(found):,} runs; limit=all lists all.")


def _root(words: Words) -> Path:
    typed = words.options.get("root")
    if not words.names:
        return typed or Path("outputs")
    name = words.names[0]
    if not Path(name).is_dir():
        raise UserError(
            f"{name} is no folder. A filter is key=value, and one with < or > is put in quotes: 'val/f1>0.9'."
        )
    if typed:
        raise UserError(f"{name} and root= both name a folder. Give one of them.")
    return Path(name)


def row_of(record: RunRecord, columns: Sequence[str]) -> Row:
    """What the run has of these columns."""
    values = ((name, value_of(record, name)) for name in columns)
    return {name: value for name, value in values if value is not MISSING and not (name == "note" and not value)}


def order(records: list[RunRecord], key: str, *, known: Sequence[RunRecord]) -> list[RunRecord]:
    """Newest first; by a key upwards, or downwards with `-` before it. Runs without a value come last.

    Raises:
        UserError: no run among `known` has the key.
    """
    if not key:  # what waits for its start comes first
        return sorted(records, key=lambda record: (record.started or "~", record.label), reverse=True)
    name = key.removeprefix("-")
    check_known(known, [name])
    valued = [(value_of(record, name), record) for record in records]
    there = [pair for pair in valued if not _is_nothing(pair[0])]
    rest = [record for value, record in valued if _is_nothing(value)]
    ordered = sorted(there, key=lambda pair: _sortable(pair[0]), reverse=key.startswith("-"))
    return [record for _, record in ordered] + rest


def _is_nothing(value: Any) -> bool:
    """True for what has no place in an order: no value, or the NaN or infinity of a run that diverged."""
    return value is MISSING or value is None or (isinstance(value, float) and not math.isfinite(value))


def _sortable(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float)
    return (not is_number, float(value) if is_number else 0.0, "" if is_number else str(value))
