"""Which runs fit what was typed; a filter that can fit none is refused or explained, never silently empty."""

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from src.errors import UserError
from src.run.index import RunRecord
from src.run.waiting import in_threads
from src.runs.output import note
from src.runs.values import FIELDS, MISSING, STATES, TIMES, check_known, is_number, show, value_of
from src.runs.words import Filter

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_DAMAGED = object()
_LISTED = 8  # values in a message


def select(records: Sequence[RunRecord], filters: Sequence[Filter], *, options: Iterable[str] = ()) -> list[RunRecord]:
    """The runs that fit all filters, in their order. options: other words that a mistyped key may have meant.

    Raises:
        UserError: a key that no run has, an order of what is no number, a word that is no state.
    """
    kept = list(records)
    for wanted in sorted(filters, key=lambda each: (each.key not in FIELDS, "/" not in each.key)):  # cheap ones first
        _check(wanted)
        values = in_threads(partial(value_of, key=wanted.key, damaged=_DAMAGED), kept)
        found = _readable(list(zip(kept, values, strict=True)))
        if all(value is MISSING for _, value in found):
            check_known(records, [wanted.key], options=options)
        if wanted.operator in _ORDER and wanted.key not in TIMES:
            _check_numbers(wanted, [value for _, value in found])
        kept = [record for record, value in found if fits(value, wanted)]
    return kept


def _readable(found: list[tuple[RunRecord, Any]]) -> list[tuple[RunRecord, Any]]:
    """Those whose value is known; the others are named."""
    damaged = [record.label for record, value in found if value is _DAMAGED]
    if damaged:
        names = ", ".join(damaged[:_LISTED])
        note(f"Note: left out, as their config.yaml is no YAML: {names} ({len(damaged)} in all).")
    return [pair for pair in found if pair[1] is not _DAMAGED]


def _check(wanted: Filter) -> None:
    if wanted.key == "state" and wanted.value not in STATES and "*" not in wanted.value:
        raise UserError(f"state ({wanted.value}) must be one of {', '.join(STATES)}.")
    if wanted.key in TIMES:
        if not wanted.value[:4].isdecimal():
            raise UserError(f"{wanted} must compare with a time, as in '{wanted.key}>2026-11-01' (UTC).")
    elif wanted.operator in _ORDER and _number(wanted.value) is None:
        raise UserError(f"{wanted} must compare with a number; for text there are = and !=, with * for any letters.")


def _check_numbers(wanted: Filter, values: list[Any]) -> None:
    there = [value for value in values if value is not MISSING and value is not None]
    if there and not any(is_number(value) for value in there):
        raise UserError(f"{wanted} compares numbers, and {wanted.key} is {show(there[0])} there. Use = or !=.")


def fits(value: Any, wanted: Filter) -> bool:
    """Whether a run's value fits; what is missing fits `!=` alone."""
    if wanted.operator == "!=":
        return value is MISSING or not _equal(value, wanted)
    if value is MISSING:
        return False
    if wanted.operator == "=":
        return _equal(value, wanted)
    compare = _ORDER[wanted.operator]
    if wanted.key in TIMES:
        return compare(str(value)[: len(wanted.value)], wanted.value.replace(" ", "T"))
    return is_number(value) and compare(value, _number(wanted.value))


def _equal(value: Any, wanted: Filter) -> bool:
    if isinstance(value, list):
        return any(_equal(item, wanted) for item in value) or show(value) == wanted.value
    if wanted.key in TIMES:
        return str(value).startswith(wanted.value.replace(" ", "T"))
    if wanted.key == "sweep":  # a folder <date>_<time>_<id>
        return value.startswith(wanted.value) or value.endswith(wanted.value) or fnmatchcase(value, wanted.value)
    if is_number(value):
        return bool(value == _number(wanted.value))
    return fnmatchcase(show(value), wanted.value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def explain_none(records: Sequence[RunRecord], filters: Sequence[Filter], *, root: object) -> str:
    """Why no run was found."""
    if not records:
        return f"There is no run below {root}. Train one: python -m src.train experiment=demo"
    for wanted in filters:
        values = [value_of(record, wanted.key) for record in records]
        if not any(fits(value, wanted) for value in values):
            there = [value for value in values if value is not MISSING]
            return f"No run has {wanted}; {wanted.key} is {_range(there)}."
    return f"No run of {len(records):,} has all of {' '.join(map(str, filters))}."


def _range(values: list[Any]) -> str:
    numbers = [value for value in values if is_number(value)]
    different = Counter(map(show, values))
    if len(numbers) == len(values) and len(different) > _LISTED:
        return f"between {min(numbers):.6g} and {max(numbers):.6g}"
    common = ", ".join(f"{text} ({count})" for text, count in different.most_common(_LISTED))
    return common + (f" and {len(different) - _LISTED} others" if len(different) > _LISTED else "")
