"""result.json: one flat table of what a run achieved, in numbers any JSON reader takes."""

import math
from numbers import Integral
from pathlib import Path
from typing import Any

from src.run.files import read_json, write_json
from src.run.secrets import redact

NOTES = "notes"


def flatten(values: dict[str, Any]) -> dict[str, Any]:
    """Plain numbers, text, booleans and None; what is not finite becomes None, with a word in `notes`.

    Raises TypeError for lists, dicts and arrays of more than one number: the table is flat.
    """
    flat: dict[str, Any] = {}
    notes = [str(values[NOTES])] if values.get(NOTES) else []
    for name, value in values.items():
        if name == NOTES:
            continue
        flat[name] = _plain(name, value)
        if isinstance(flat[name], float) and not math.isfinite(flat[name]):
            notes.append(f"{name} was {flat[name]}")
            flat[name] = None
    if notes:
        flat[NOTES] = "; ".join(notes)
    return flat


def _plain(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor of several numbers
        raise TypeError(
            f"{name} ({type(value).__name__}) must be one number, text or null: the table is flat"
        ) from error


def write_result(path: Path, values: dict[str, Any]) -> None:
    """Replace result.json by `values`, flattened and redacted."""
    write_json(path, redact(flatten(values)))


def update_result(path: Path, values: dict[str, Any], *, forget: tuple[str, ...] = ()) -> None:
    """Put `values` over what result.json holds already (an evaluation after the training); its notes are kept.

    forget: beginnings of names that are taken out first.
    """
    before = {name: value for name, value in (read_json(path) or {}).items() if not name.startswith(forget)}
    added = flatten(values)
    notes = [text for text in (before.get(NOTES), added.get(NOTES)) if text]
    merged = {**before, **added} | ({NOTES: "; ".join(dict.fromkeys(notes))} if notes else {})
    write_json(path, redact(merged))
