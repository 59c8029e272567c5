"""Single values out of a config.yaml without parsing all of it: a list of thousands of runs asks for one key or two.

Only what to_yaml writes is read here, at 3 microseconds a key where PyYAML takes 700 for the file; whatever else
stands in a file (comments, braces, anchors, other indentation) makes it a case for PyYAML. What would deceive it is a
quoted text of several lines that begin in the first column and look like the section asked for.
"""

import functools
import re
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LINE = re.compile(r"([A-Za-z_][\w./-]*):(?: (.*))?")
_CLOSED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"\\]|\\.)*\"|\[[^\[\]]*\]|\{\}|[|>][+-]?")
_SPECIAL = tuple("'\"[{|>&*!%@`#?")
_WORDS: dict[str, Any] = {"null": None, "true": True, "false": False, "[]": [], "{}": {}}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d*(?:e[-+]\d+)?)?")


def parse(text: str) -> Any:
    """What PyYAML makes of a whole file; raises yaml.YAMLError."""
    return yaml.load(text, Loader=LOADER)


def find_value(text: str, key: str) -> Any:
    """The value under a dotted key.

    Raises:
        KeyError: there is no such key.
        yaml.YAMLError: it had to be parsed and is no YAML.
    """
    if key.rpartition(".")[2] not in text and "\\" not in text:
        raise KeyError(key)
    match = _pattern(key).search(text) if text.endswith("\n") else None
    if match:
        try:
            return _value(match[1])
        except yaml.YAMLError:  # an alias, whose anchor stands elsewhere
            pass
    keys = scan_keys(text)
    if keys is not None and key not in keys:
        raise KeyError(key)
    value = parse(text)
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise KeyError(key)
        value = value[part]
    return value


def find_keys(text: str) -> set[str]:
    """All dotted keys, those of sections among them; raises yaml.YAMLError where the file is no YAML."""
    keys = scan_keys(text)
    return keys if keys is not None else {key for key, _ in walk(parse(text))}


def walk(node: Any, key: str = "") -> list[tuple[str, Any]]:
    """Every dotted key of a tree of dicts with its value, sections before what is in them."""
    found = []
    for name, value in node.items() if isinstance(node, dict) else ():
        dotted = f"{key}.{name}" if key else str(name)
        found += [(dotted, value), *walk(value, dotted)]
    return found


def scan_keys(text: str) -> set[str] | None:
    """All dotted keys; None if a line is of another form than to_yaml's, so that PyYAML must tell."""
    keys: set[str] = set()
    sections: list[tuple[int, str]] = []  # columns and names of those that are open
    closed: int | None = None  # deeper lines than this column belong to a list or to a text of several lines
    for line in text.removesuffix("\n").split("\n"):
        body = line.lstrip(" ")
        column = len(line) - len(body)
        if closed is not None and column > closed:
            continue
        if body.startswith("- ") and sections:
            closed = column
            continue
        match = _LINE.fullmatch(body)
        if match is None or ((match[2] or "").startswith(_SPECIAL) and not _CLOSED.fullmatch(match[2])):
            return None
        while sections and sections[-1][0] >= column:
            sections.pop()
        name = f"{sections[-1][1]}.{match[1]}" if sections else match[1]
        keys.add(name)
        sections.append((column, name))
        closed = column if match[2] else None
    return keys


@functools.cache
def _pattern(key: str) -> re.Pattern[str]:
    """Finds what stands behind a key, with the deeper lines below it; sections are indented by two as to_yaml does."""
    *sections, last = map(re.escape, key.split("."))
    text, inside = "^", ""
    for name in sections:
        text += f"{name}:\n"
        inside += "  "
        text += f"(?:(?:{inside}.*)?\n)*?{inside}"
    return re.compile(rf"{text}{last}:((?: .*)?\n(?:(?:{inside}(?: |- ).*)?\n)*)", re.MULTILINE)


@functools.lru_cache(maxsize=10_000)
def _value(written: str) -> Any:
    plain = written.strip()
    if plain in _WORDS:
        return _WORDS[plain]
    number = _NUMBER.fullmatch(plain)
    if number:
        return float(plain) if number[1] else int(plain)
    return parse(f"key:{written}")["key"]
