"""Whether a value of a plain config fits a type annotation, and how to say what would."""

import os
import types
from collections.abc import Mapping, Sequence, Set
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
COMPARE = {
    ">=": lambda value, bound: value >= bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    "<": lambda value, bound: value < bound,
}


def is_part(value: Any) -> bool:
    """A dict that names what is to be built from it."""
    return isinstance(value, dict) and "_target_" in value


def fits(value: Any, annotation: Any) -> bool:
    """True if `value` may stand where `annotation` is asked for.

    A whole number is a number, a bool is neither. A path is text. A class other than these is asked for by a nested
    `_target_`. What cannot be understood (a forward reference, a type variable) takes everything.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return fits(value, arguments[0]) and all(within(value, rule) for rule in arguments[1:] if isinstance(rule, str))
    if origin in (Union, types.UnionType):
        return any(fits(value, member) for member in arguments)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if annotation is None:
        return value is None
    if annotation in PLAIN:
        return _fits_plain(value, annotation)
    kind = origin or annotation
    if not isinstance(kind, type) or kind in (Any, object):
        return True
    if is_typeddict(annotation):
        hints = get_type_hints(annotation, include_extras=True)
        return isinstance(value, dict) and all(name in hints and fits(v, hints[name]) for name, v in value.items())
    if is_part(value):
        return not issubclass(kind, (list, tuple, dict, os.PathLike))
    return _fits_container(value, kind, arguments)


def _fits_plain(value: Any, annotation: Any) -> bool:
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation)


def _fits_container(value: Any, kind: type, arguments: tuple[Any, ...]) -> bool:
    if issubclass(kind, os.PathLike):
        return isinstance(value, str)
    if issubclass(kind, tuple) and arguments and arguments[-1] is not Ellipsis:
        return (
            isinstance(value, list)
            and len(value) == len(arguments)
            and all(fits(element, wanted) for element, wanted in zip(value, arguments, strict=True))
        )
    if issubclass(kind, Mapping):
        keys, values = arguments or (Any, Any)
        return isinstance(value, dict) and all(fits(k, keys) and fits(v, values) for k, v in value.items())
    if issubclass(kind, (Sequence, Set)) or kind.__name__ == "Iterable":
        return isinstance(value, list) and all(fits(element, arguments[0] if arguments else Any) for element in value)
    return isinstance(value, kind)


def within(value: Any, rule: str) -> bool:
    """True if a number keeps every bound of `rule` (">= 0, < 1"); a value that is no number has no bounds to break."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    bounds = (bound.split() for bound in rule.split(","))
    return all(COMPARE[sign](value, float(number)) for sign, number in bounds)


def wish(annotation: Any) -> str:
    """What `annotation` asks for, in words: `a whole number >= 1 or null`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        rules = [rule.replace(",", " and") for rule in arguments[1:] if isinstance(rule, str)]
        return " ".join([wish(arguments[0]), *rules])
    if origin in (Union, types.UnionType):
        wishes = [wish(member) for member in arguments]
        # The way a person reads a union: plain types first, parts only where nothing else is possible, null last.
        spoken = [w for w in dict.fromkeys(wishes) if w != "null" and not w.startswith("a part")] or [
            "a part (_target_)"
        ]
        if "a number" in spoken and "a whole number" in spoken:
            spoken.remove("a whole number")
        return " or ".join([*spoken, *(["null"] if "null" in wishes else [])])
    if origin is Literal:
        return f"one of {', '.join(show(choice) for choice in arguments)}" if len(arguments) > 1 else show(arguments[0])
    if annotation is None:
        return "null"
    kind = origin or annotation
    if kind in PLAIN:
        return PLAIN[kind]
    if not isinstance(kind, type):
        return "a part (_target_)"
    if issubclass(kind, os.PathLike):
        return "text"
    if issubclass(kind, tuple) and arguments and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)}, each {' / '.join(dict.fromkeys(wish(inner) for inner in arguments))}"
    if issubclass(kind, Mapping):
        return "a mapping"
    if issubclass(kind, (Sequence, Set)) or kind.__name__ == "Iterable":
        return f"a list, each element {wish(arguments[0])}" if arguments else "a list"
    return "a part (_target_)"


def choices(annotation: Any) -> list[str]:
    """The words that a Literal, alone or inside a union, allows."""
    if get_origin(annotation) is Literal:
        return [choice for choice in get_args(annotation) if isinstance(choice, str)]
    return [word for inner in get_args(annotation) for word in choices(inner)]


def show(value: Any) -> str:
    """A value as it is typed on a command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if value == "" else str(value)
