"""Lets a sentence be typed as `text="..."`, whatever commas, quotes or brackets it holds."""

import re


def quote_free_text(arguments: list[str], *, keys: tuple[str, ...]) -> list[str]:
    """Quote the values of `keys` for Hydra's override grammar, which would read a comma as a sweep."""
    return [quote(argument, keys=keys) for argument in arguments]


def quote(argument: str, *, keys: tuple[str, ...]) -> str:
    """`text=don't, really` becomes `text='don\\'t, really'`; other arguments stay."""
    key, sign, value = argument.partition("=")
    if not sign or key not in keys or value == "null":
        return argument
    # In a quoted value a quote is escaped by a backslash, and so is every backslash before a quote or the end.
    value = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
    return f"{key}='{value}'".replace("${", r"\${")


def rename(arguments: list[str], *, key: str, to: str) -> list[str]:
    """`key=value` becomes `to=value`; other arguments stay."""
    return [to + argument.removeprefix(key) if argument.startswith(f"{key}=") else argument for argument in arguments]
