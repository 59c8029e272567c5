"""The phases of the learning rate fit into the training, where its length is known before the data is."""

import math
from typing import Any

from src.check.facts import Facts, ask

PHASES = ("warmup", "decay")


def warmup_fits_the_steps(config: dict[str, Any], facts: Facts) -> str | None:
    """A whole number counts optimizer steps; src/schedule/warmup.py looks again when the data has told how many."""
    phases = {f"schedule.{name}": ask(config, f"schedule.{name}") for name in PHASES}
    for key, value in phases.items():
        if isinstance(value, float) and value > 1:
            return (
                f"{key} ({value}) is a share of all optimizer steps and must be at most 1; a whole number counts them."
            )
    counts = {key: value for key, value in phases.items() if isinstance(value, int)}
    most = most_steps(config)
    if most is None or sum(counts.values()) <= most:
        return None
    shown = " and ".join(f"{key} ({value})" for key, value in counts.items())
    return (
        f"{shown} must lie within the {most} optimizer steps that this run takes at most; a whole number counts steps, "
        "a number like 0.1 is a share of them."
    )


def most_steps(config: dict[str, Any]) -> int | None:
    """No more optimizer steps than this, whatever the data is like; None where only the data can tell."""
    known = []
    epochs, batches = ask(config, "trainer.max_epochs"), ask(config, "trainer.limit_train_batches")
    if ask(config, "trainer.max_steps", -1) > 0:
        known.append(ask(config, "trainer.max_steps"))
    if epochs not in (None, -1) and isinstance(batches, int):
        known.append(epochs * math.ceil(batches / ask(config, "trainer.accumulate_grad_batches", 1)))
    if ask(config, "trainer.fast_dev_run"):
        known.append(int(ask(config, "trainer.fast_dev_run")))
    return min(known, default=None)
