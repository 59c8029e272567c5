"""Timings of suite=decode to the rows that are printed."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from src.cache.size import EXAMPLES


class Key(NamedTuple):
    """A contender: rows decoded at a time, type of the weights, and what keeps the keys."""

    batch: int
    precision: str
    cache: str


class Facts(NamedTuple):
    """Of one contender: bytes held, bytes that a step has to read on average, bytes per token, tokens as contiguous."""

    held: int
    read: float
    per_token: int
    same: float


def example_rows() -> list[dict[str, Any]]:
    """Known models: bytes per token, and MiB of one text of 1,024, 8,192 and 131,072 tokens."""
    return [
        {"cache": example.name, "B/token": example.per_token}
        | {f"MiB {size}k": whole(example.at(1024 * size) / 2**20) for size in (1, 8, 128)}
        for example in EXAMPLES
    ]


def whole(number: float) -> float:
    """An int where that is exact, so that it is printed with all its digits."""
    return int(number) if number == int(number) else number


def make_rows(
    timings: dict[Key, list[list[float]]],
    facts: dict[Key, Facts],
    *,
    prompt: int,
    lengths: Sequence[int],
    bandwidth: float,
    plain: str,
) -> list[dict[str, Any]]:
    """One row per contender. timings: for each round, seconds until texts of each of `lengths` are there.

    Tokens per second count what was made behind the prompt, of all rows together, the best round of each length;
    `median` is over the rounds to the longest. plain: the cache that ratios are taken to. Bandwidth is the share of
    `bandwidth` (bytes per second) that reading weights and cache once per step comes to.
    """

    def rate(key: Key, index: int) -> float:
        return key.batch * (lengths[index] - prompt) / min(seconds[index] for seconds in timings[key])

    rows = []
    for key, rounds in timings.items():
        row: dict[str, Any] = {"batch": key.batch, "weights": key.precision, "cache": key.cache}
        row |= {f"tok/s {length}": rate(key, index) for index, length in enumerate(lengths)}
        steps = lengths[-1] - prompt
        row["median"] = key.batch * steps / statistics.median(seconds[-1] for seconds in rounds)
        base, wide = key._replace(cache=plain), key._replace(precision="fp32")
        for index, length in enumerate(lengths):
            if base in timings:
                row[f"x {length}"] = rate(key, index) / rate(base, index)
        if wide in timings:
            row["x fp32"] = rate(key, -1) / rate(wide, -1)
        known = facts[key]
        if known.held:
            row["B/token"] = known.per_token
            row["MiB held"] = known.held / 2**20
            row["bandwidth %"] = 100 * known.read * rate(key, -1) / key.batch / bandwidth
        row["same %"] = 100 * known.same
        rows.append(row)
    return rows
