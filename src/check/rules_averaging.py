"""Rules about callbacks that average the weights, and how many copies of the weights they keep."""

from collections.abc import Iterator
from typing import Any

from src.check.facts import Facts, ask
from src.check.rules_strategy import DEEPSPEED, SHARDED, kind, name

EMA, SWA = OURS = (
    "src.callbacks.ema.ExponentialMovingAverage",
    "src.callbacks.swa.StochasticWeightAverage",
)
OTHERS = (
    "lightning.pytorch.callbacks.EMAWeightAveraging",
    "lightning.pytorch.callbacks.StochasticWeightAveraging",
)


def averages(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and target of every callback that averages."""
    for key, entry in ask(config, "callbacks", {}).items():
        target = ask(entry, "_target_", "") if isinstance(entry, dict) else ""
        if target in (*OURS, *OTHERS):
            yield key, target


def averages_need_whole_weights(config: dict[str, Any], facts: Facts) -> str | None:
    for key, target in averages(config):
        if kind(config) in (SHARDED, DEEPSPEED):
            return (
                f"callbacks.{key} ({target.rpartition('.')[2]}) copies whole weights, which strategy={name(config)} "
                "divides; leave it out or choose strategy=ddp."
            )
    return None


def one_average_at_a_time(config: dict[str, Any], facts: Facts) -> str | None:
    """Only one can be what is validated and kept as the best."""
    keys = [key for key, _ in averages(config)]
    if len(keys) > 1:
        return f"callbacks.{keys[1]} averages the weights as callbacks.{keys[0]} does; set one of them to null."
    return None


def held_rate_needs_a_curve(config: dict[str, Any], facts: Facts) -> str | None:
    for key, target in averages(config):
        rate = ask(config, f"callbacks.{key}.lr")
        if target == SWA and rate is not None and ask(config, "schedule._target_") == "src.schedule.plateau.plateau":
            return (
                f"callbacks.{key}.lr ({rate}) holds the rate, and schedule=plateau lowers it; set it to null or choose "
                "schedule=constant."
            )
    return None
