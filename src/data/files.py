"""Reads one csv, jsonl or parquet file into a table; everything wrong with it is said with the file and the line."""

import csv
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from src.data.table import Table
from src.errors import UserError


def read_file(path: Path, *, text_column: str, label_column: str) -> Table:
    """Read a file by its suffix; raises UserError naming file, line and what is wrong."""
    try:
        return READERS[path.suffix](path, text_column, label_column)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def _check_columns(path: Path, found: Iterable[str], *needed: str, line: int | None = None) -> None:
    found = list(found)
    for column in needed:
        if column not in found:
            place = f"{path}" if line is None else f"{path}, line {line},"
            raise UserError(
                f"{place} has no column {column}; it has {', '.join(found) or 'none'}. "
                "Set data.text_column and data.label_column to two of them."
            )


def _check_header(path: Path, header: list[str], *needed: str) -> None:
    """Refuse another separator, and a name that stands for two columns."""
    separator = next((sign for sign in ";\t|" if len(header) == 1 and sign in header[0]), None)
    if separator is not None:
        raise UserError(
            f"{path} has no column {needed[0]}; it has {header[0]}, which looks separated by {separator!r}: save it "
            "with commas."
        )
    for column in needed:
        if header.count(column) > 1:
            raise UserError(f"{path} has {header.count(column)} columns {column}; give all but one another name.")


def _read_csv(path: Path, text_column: str, label_column: str) -> Table:
    texts: list[str] = []
    labels: list[str] = []
    lines: list[int] = []
    end = 0
    # The default limit of 131,072 characters per field would refuse a long review. It is the module's, not the
    # reader's, so it is put back.
    limit = csv.field_size_limit(sys.maxsize)
    try:
        # utf-8-sig: spreadsheets put a byte order mark in front of the first column name.
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            _check_header(path, header, text_column, label_column)
            _check_columns(path, header, text_column, label_column)
            text_at, label_at = header.index(text_column), header.index(label_column)
            end = rows.line_num
            for row in rows:
                start, end = end + 1, rows.line_num
                if row and len(row) != len(header):
                    raise UserError(
                        f"{path}, line {start}, has {len(row)} field{'s'[: len(row) != 1]}, but the header has "
                        f'{len(header)}; a text with commas must stand in "quotes".'
                    )
                if row:
                    texts.append(row[text_at])
                    labels.append(row[label_at])
                    lines.append(start)
    except csv.Error as error:
        raise UserError(f"{path}: the row that starts at line {end + 1} is not valid csv: {error}.") from error
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    finally:
        csv.field_size_limit(limit)
    return Table(texts, labels, str(path), lines)


def _read_jsonl(path: Path, text_column: str, label_column: str) -> Table:
    texts: list[Any] = []
    labels: list[Any] = []
    lines: list[int] = []
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise UserError(f"{path}, line {number}, is not valid JSON: {error}.") from error
                if not isinstance(row, dict):
                    raise UserError(f"{path}, line {number}, must be a JSON object such as {{...}}, one per line.")
                _check_columns(path, row, text_column, label_column, line=number)
                texts.append(row[text_column])
                labels.append(row[label_column])
                lines.append(number)
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    return Table(texts, labels, str(path), lines)


def _not_utf8(path: Path) -> UserError:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return UserError(
                    f"{path}, line {number}, is not UTF-8 (byte {error.object[error.start]:#04x}); convert the file, "
                    "for example with iconv."
                )
    raise AssertionError(f"{path} became UTF-8 while it was read")


def _read_parquet(path: Path, text_column: str, label_column: str) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names, text_column, label_column)
            table = file.read(columns=[text_column, label_column])
        texts, labels = table[text_column].to_pylist(), table[label_column].to_pylist()
    except (pyarrow.ArrowException, OSError) as error:  # Arrow raises both for a broken file
        raise UserError(f"{path} is not a readable parquet file: {' '.join(str(error).split())}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} holds a text that is not UTF-8; write the file again with text as strings.") from error
    return Table(texts, labels, str(path))


READERS: dict[str, Callable[[Path, str, str], Table]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
