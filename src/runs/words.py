"""What is typed behind a command: names, options of its own (`sort=val/loss`) and filters (`val/f1>0.9`)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from src.errors import UserError

Reader = Callable[[str], Any]  # raises ValueError whose text is the wish
_WORD = re.compile(r"([A-Za-z_][\w./-]*)(!=|>=|<=|=|>|<)(.*)", re.DOTALL)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Filter:
    """`key operator value` as typed."""

    key: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}{self.operator}{self.value}"


@dataclass(frozen=True, kw_only=True)
class Words:
    """Everything typed behind a command, read."""

    names: list[str]
    filters: list[Filter]
    options: dict[str, Any]


def read_words(
    typed: Sequence[str], *, options: Mapping[str, Reader], names: Sequence[str] = (), filters: bool = False
) -> Words:
    """Read what is typed; nothing is left aside.

    names: what the command's names are, in their order; a last one that ends in `...` may come many times, one in
    brackets may be left out. An option takes `=` alone; every other word with an operator is a filter. Where there are
    no filters, such a word is a name if there is a file or folder of that name.

    Raises:
        UserError: a word that the command does not know, a wrong value, a missing or a second one.
    """
    found = Words(names=[], filters=[], options={})
    for word in typed:
        match = _WORD.fullmatch(word)
        if match is None:
            found.names.append(_name(word, found.names, names, legal=options))
        elif match[1] in options and match[2] == "=":
            if match[1] in found.options:
                raise UserError(f"{match[1]} is given twice. Give it once.")
            found.options[match[1]] = _option(match[1], match[3], options[match[1]])
        elif filters and match[3]:
            found.filters.append(Filter(match[1], match[2], match[3]))
        elif names and Path(word).exists():
            found.names.append(_name(word, found.names, names, legal=options))
        else:
            raise UserError(f"{word} is no option here{_near(match[1], options)}")
    needed = [name for name in names if not name.startswith("[")]
    if len(found.names) < len(needed):
        raise UserError(f"{needed[len(found.names)]} is missing. See --help.")
    return found


def _name(word: str, before: list[str], names: Sequence[str], *, legal: Mapping[str, Reader]) -> str:
    if word.startswith("-"):
        name = word.lstrip("-").partition("=")[0]
        raise UserError(f"{word} is no option; options are written name=value{_near(name, legal)}")
    many = bool(names) and names[-1].strip("[]").endswith("...")
    if len(before) >= len(names) and not many:
        hint = " A filter is key=value, and one with < or > is put in quotes: 'val/f1>0.9'."
        raise UserError(f"{word} is one name too many.{hint}" if names else f"{word} is no filter.{hint}")
    return word


def _option(name: str, value: str, read: Reader) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise UserError(f"{name} ({value}) must be {error}.") from None


def _near(name: str, options: Mapping[str, Reader]) -> str:
    near = get_close_matches(name, options, n=1)
    guess = f"; did you mean {near[0]}=?" if near else "."
    return f"{guess} Options: {', '.join(f'{option}=' for option in options)}." if options else "; it takes none."


def folder(value: str) -> Path:
    """A folder that exists."""
    if not Path(value).is_dir():
        raise ValueError("a folder that exists")
    return Path(value)


def count(value: str) -> int:
    """A whole number from 1 on."""
    if not value.isdecimal() or int(value) < 1:
        raise ValueError("a whole number from 1 on")
    return int(value)


def count_or_all(value: str) -> int | None:
    """A whole number from 1 on; None for `all`."""
    if value == "all":
        return None
    try:
        return count(value)
    except ValueError as error:
        raise ValueError(f"{error}, or all") from None


def boolean(value: str) -> bool:
    """true or false."""
    return one_of("true", "false")(value) == "true"


def one_of(*legal: str) -> Reader:
    """One of these words."""

    def read(value: str) -> str:
        if value not in legal:
            raise ValueError(" or ".join(legal))
        return value

    return read


def name_list(value: str) -> list[str]:
    """`a,b,c`."""
    parts = value.split(",")
    if not all(parts):
        raise ValueError("names with commas between them")
    return parts


def text(value: str) -> str:
    """Anything but nothing."""
    if not value:
        raise ValueError("a name")
    return value


def duration(value: str) -> timedelta:
    """`30d`, `12h`, `2w`, `90m`."""
    if not re.fullmatch(rf"\d{{1,5}}[{''.join(_UNITS)}]", value):
        raise ValueError("a number with m, h, d or w behind it, as in 30d")
    return timedelta(**{_UNITS[value[-1]]: int(value[:-1])})
