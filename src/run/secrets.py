"""Keeps passwords and keys out of run folders: by the name they have, and by the value they have elsewhere."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

REDACTED = "<redacted>"
_LEAST_LETTERS = 8  # shorter values (on, 1, demo) occur by chance in harmless text

_ALWAYS = frozenset(
    {"password", "passwd", "passphrase", "secret", "secrets", "credential", "credentials", "apikey", "authtoken"}
)
_HEADS = frozenset({"key", "token"})
_OWNERS = frozenset({"api", "access", "auth", "private", "bearer", "hf", "hub", "wandb", "ssh", "session", "refresh"})
_HARMLESS = frozenset(
    {"pad", "eos", "bos", "unk", "cls", "sep", "mask", "unknown", "start", "end", "special", "next", "previous"}
    | {"first", "last", "per", "max", "min", "num", "prompt"}
    | {"monitor", "metric", "sort", "public", "foreign", "column", "label", "text", "group", "cache", "config"}
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PAIR = re.compile(r"([A-Za-z_][\w.@/-]*)(['\"]?\s*[:=]\s*)('[^']*'|\"[^\"]*\"|[^\s,{}\[\]]+)")
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):([^\s/@]+)@")


def is_secret_name(name: str) -> bool:
    """True for names such as api_key, HF_TOKEN or dbPassword; False for tokens, num_tokens, pad_token, monitor_key.

    By whole words: a word like password or secret anywhere; `key` or `token` as the last word, unless the word before
    is a known harmless one (an unknown one is taken for a secret); key(s) or token(s) right after api, access, ....
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if any(word in _ALWAYS for word in words):
        return True
    if words and words[-1] in _HEADS and (len(words) == 1 or words[-2] not in _HARMLESS):
        return True
    return any(a in _OWNERS and b.removesuffix("s") in _HEADS for a, b in pairwise(words))


def find_secrets(value: Any) -> frozenset[str]:
    """Values (8 characters or more) that stand under a secret name anywhere in a configuration."""
    return frozenset(text for text in _secret_leaves(value, inside=False) if len(text) >= _LEAST_LETTERS)


def _secret_leaves(value: Any, *, inside: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secret_leaves(item, inside=inside or is_secret_name(str(key)))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secret_leaves(item, inside=inside)
    elif inside and value is not None and not isinstance(value, bool):
        yield str(value)


def secrets_of_environment(environment: Mapping[str, str] | None = None) -> frozenset[str]:
    """Values (8 characters or more) of the environment variables with a secret name, whole and by line."""
    variables = os.environ if environment is None else environment
    values = {value for name, value in variables.items() if is_secret_name(name)}
    lines = {line.strip() for value in values for line in value.splitlines()}
    return frozenset(value for value in values | lines if len(value) >= _LEAST_LETTERS)


def redact(value: Any, *, known: frozenset[str] = frozenset()) -> Any:
    """A copy of `value` without secrets: those of `known`, of the environment, and all that stands under a secret name.

    Numbers under a secret name go too (a password may be one); None and booleans stay, they tell nothing.
    """
    return _redact(value, known | secrets_of_environment(), inside=False)


def _redact(value: Any, known: frozenset[str], *, inside: bool) -> Any:
    if isinstance(value, Mapping):
        return {
            _hide(key, known) if isinstance(key, str) else key: _redact(
                item, known, inside=inside or is_secret_name(str(key))
            )
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redact(item, known, inside=inside) for item in value]
    if value is None or isinstance(value, bool) or value == "":
        return value
    if inside or str(value) in known:  # a secret of digits only reaches a configuration as a number
        return REDACTED
    return _hide(value, known) if isinstance(value, str) else value


def _hide(text: str, known: frozenset[str]) -> str:
    for secret in sorted(known, key=len, reverse=True):  # longest first: one secret may begin with another
        text = text.replace(secret, REDACTED)
    return _URL_PASSWORD.sub(rf"\1:{REDACTED}@", text)


def redact_text(text: str, *, known: frozenset[str] = frozenset()) -> str:
    """Free text (a diff, an override) without known secrets and without what a secret name is set to."""

    def without_value(match: re.Match[str]) -> str:
        name, sign, _ = match.groups()
        return name + sign + REDACTED if is_secret_name(name) else match.group(0)

    return _PAIR.sub(without_value, _hide(text, known | secrets_of_environment()))


def redact_arguments(arguments: list[str], *, known: frozenset[str] = frozenset()) -> str:
    """A command line as one line for a shell, secrets replaced: `key=value` by the key, any text by known values."""
    cleaned = []
    for argument in arguments:
        name, sign, _ = argument.partition("=")
        if sign and any(is_secret_name(part) for part in re.split(r"[./@]", name)):
            cleaned.append(name + sign + REDACTED)
        else:
            cleaned.append(redact_text(argument, known=known))
    return shlex.join(cleaned)
