"""Timings of the LSTM loops to the rows that are printed: speed, ratios, one step by phase, loss."""

import statistics
from typing import Any

from src.benchmark.plain_loop import PHASES

# (loop, precision): the columns of a contender are known by these two words.
Key = tuple[str, str]
Rounds = list[dict[str, float]]


def make_rows(
    timings: dict[Key, Rounds],
    losses: dict[Key, float],
    *,
    max_length: int,
    reviews: int,
    batches: int,
    plain: str,
    overhead: dict[Key, float],
) -> list[dict[str, Any]]:
    """One row per loop and precision. Times are wall seconds of `reviews` reviews in `batches` batches.

    Best round against best round gives the ratios, because noise only ever adds time. plain: the loop that the ratios
    are taken to; overhead: percent over the bare loop, where it was measured.
    """
    best = {key: min(rounds, key=total) for key, rounds in timings.items()}
    rows = []
    for (loop, precision), rounds in timings.items():
        mine = best[loop, precision]
        row: dict[str, Any] = {"words": max_length, "loop": loop, "precision": precision}
        row["reviews/s"] = reviews / total(mine)
        row["median"] = reviews / statistics.median(map(total, rounds))
        for other in ("fp32", "bf16"):
            if (plain, other) in best:
                row[f"x plain {other}"] = total(best[plain, other]) / total(mine)
        row |= {f"{phase} ms": 1000 * mine[phase] / batches for phase in PHASES}
        if (loop, precision) in overhead:
            row["over bare %"] = overhead[loop, precision]
        if (loop, precision) in losses:
            row["val loss"] = losses[loop, precision]
        rows.append(row)
    return rows


def percent_over(rounds: Rounds, base: Rounds) -> float:
    """Median over neighbouring rounds of the time that `rounds` took more than `base`, in percent.

    Two rounds that follow each other see the same machine; best against best would compare two moments of luck.
    """
    ratios = [total(mine) / total(other) for mine, other in zip(rounds, base, strict=True)]
    return 100 * (statistics.median(ratios) - 1)


def total(seconds: dict[str, float]) -> float:
    """Seconds of a whole round."""
    return sum(seconds.values())
