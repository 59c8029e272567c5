"""Reads the space of a search: what `log(1e-4, 1e-2)` and the like mean, in YAML or typed as Hydra has it."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from src.errors import UserError
from src.sweep.axes import Axis, Choice, Real, Whole

Number = TypeVar("Number", int, float)
KEY = "hydra.sweeper.space"
FORMS = "log(1e-4, 1e-2), interval(0.1, 0.5), int(16, 128), int(log(16, 256)) or choice(64, 128)"
_CALL = re.compile(r"([a-z]+)\s*\((.*)\)", re.DOTALL)
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


def read_space(texts: Mapping[str, Any]) -> dict[str, Axis]:
    """Dotted key to axis; a mapping inside holds keys below its own, as hydra.sweeper.space.model.dropout=... does.

    Raises:
        UserError: an axis that has no such form, or bounds between which there is nothing.
    """
    axes: dict[str, Axis] = {}
    for key, text in _leaves(texts):
        if key in axes:
            raise UserError(f"{KEY} has {key} twice; leave one out.")
        axes[key] = read_axis(text, key=key)
    if not axes:
        raise UserError(f"{KEY} is empty, so there is nothing to search; give keys of the config {FORMS}.")
    return axes


def _leaves(texts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in texts.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def read_axis(text: Any, *, key: str) -> Axis:
    """The axis of one key; a list with commas, as the command line has it, is a choice.

    Raises:
        UserError: naming key and text.
    """
    name = f"{key} ({text})"
    if not isinstance(text, str):
        raise UserError(f"{name} must be text, one of {FORMS}.")
    match = _CALL.fullmatch(text.strip())
    if match is None:
        values = split(text)
        if len(values) < 2:
            raise UserError(f"{name} is one value and no axis; give {FORMS}.")
        return choice(values, name=name)
    word, arguments = match[1], split(match[2])
    if word not in READERS:
        raise UserError(f"{name} must be one of {FORMS}.")
    return READERS[word](arguments, name=name)


def split(text: str) -> list[str]:
    """The parts between commas that stand outside brackets and quotes, without the spaces around them."""
    parts, start, closing, quote = [], 0, "", ""
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and text[place - 1] != "\\" else quote
        elif letter in "'\"":
            quote = letter
        elif letter in _BRACKETS:
            closing += _BRACKETS[letter]
        elif closing and letter == closing[-1]:
            closing = closing[:-1]
        elif letter == "," and not closing:
            parts.append(text[start:place].strip())
            start = place + 1
    parts.append(text[start:].strip())
    return [] if parts == [""] else parts


def choice(values: list[str], *, name: str) -> Choice:
    """choice(a, b, ...)."""
    if not values or "" in values:
        raise UserError(f"{name} has an empty choice; write each value between the commas.")
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise UserError(f"{name} has {twice[0]} twice; leave one out.")
    return Choice(values=tuple(values))


def interval(values: list[str], *, name: str) -> Real:
    """interval(low, high)."""
    low, high = _bounds([_number(value, name=name) for value in values], name=name)
    return Real(low=low, high=high)


def logarithm(values: list[str], *, name: str) -> Real:
    """log(low, high)."""
    real = interval(values, name=name)
    if real.low <= 0:
        raise UserError(f"{name} must begin above 0, as a logarithm does; interval(...) is the even one.")
    return Real(low=real.low, high=real.high, log=True)


def tagged(values: list[str], *, name: str) -> Real:
    """Hydra's way to write a logarithm, tag(log, interval(low, high))."""
    inner = _CALL.fullmatch(values[1]) if len(values) == 2 and values[0] == "log" else None
    if inner is None or inner[1] != "interval":
        raise UserError(f"{name} must be tag(log, interval(low, high)); a search knows no other tag.")
    return logarithm(split(inner[2]), name=name)


def whole(values: list[str], *, name: str) -> Whole:
    """int(low, high), int(low, high, step) or int(log(low, high)); both bounds may be drawn."""
    inner = _CALL.fullmatch(values[0]) if len(values) == 1 else None
    if inner is not None and inner[1] in ("interval", "log", "tag"):
        axis = READERS[inner[1]](split(inner[2]), name=name)
        low, high = _whole([axis.low, axis.high], name=name)
        return Whole(low=low, high=high, log=axis.log)
    numbers = _whole([_number(value, name=name) for value in values], name=name)
    low, high = _bounds(numbers[:2], name=name)
    step = numbers[2] if len(numbers) == 3 else 1
    if len(numbers) > 3 or step < 1 or low + step > high:
        raise UserError(f"{name} must be int(low, high) or int(low, high, step) with a step between 1 and high - low.")
    return Whole(low=low, high=high - (high - low) % step, step=step)


def stepped(values: list[str], *, name: str) -> Whole:
    """Hydra's range(stop), range(start, stop) or range(start, stop, step) of whole numbers, without the stop."""
    numbers = _whole([_number(value, name=name) for value in values], name=name)
    if not 1 <= len(numbers) <= 3:
        raise UserError(f"{name} must be range(start, stop) or range(start, stop, step).")
    start, stop, *step = [0, *numbers] if len(numbers) == 1 else numbers
    return whole([str(number) for number in (start, stop - 1, *step)], name=name)


def _whole(numbers: list[float], *, name: str) -> list[int]:
    if any(number % 1 for number in numbers):
        raise UserError(f"{name} must have whole numbers; interval(...) has any, choice(...) those that it lists.")
    return [int(number) for number in numbers]


def _number(text: str, *, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise UserError(f"{name}: {text} is no number.") from None
    if not math.isfinite(number):
        raise UserError(f"{name}: {text} must be a finite number.")
    return number


def _bounds(numbers: list[Number], *, name: str) -> tuple[Number, Number]:
    if len(numbers) != 2:
        raise UserError(f"{name} must have two numbers, the lowest and the highest.")
    low, high = numbers
    if low >= high:
        raise UserError(f"{name}: the first number must be below the second; for one value write it without an axis.")
    return low, high


READERS: dict[str, Callable[..., Any]] = {
    "choice": choice,
    "interval": interval,
    "log": logarithm,
    "int": whole,
    "range": stepped,
    "tag": tagged,
}
