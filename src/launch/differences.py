"""How the config of a continued run may differ from the one it was trained with so far."""

import json
from collections.abc import Iterator
from typing import Any

from src.check.global_batch import readers
from src.errors import UserError
from src.launch.settings import THRESHOLD
from src.run.manifest import Manifest
from src.run.secrets import find_secrets, redact

# What a run may go on with changed, if that is said.
LENGTHS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
MACHINE = ("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "data.batch_size")
LEGAL = (*LENGTHS, *MACHINE, "callbacks", "logger", "test", "tags")
# What changes nothing of the result, and is not compared.
DOORS = ("resume", "resume_changes", "paths", "launcher", "dry_run", "data.cache_dir", "logger.wandb.id")
FREE = (*DOORS, "data.num_workers", "trainer.enable_progress_bar")
# What decides about an end before max_epochs and max_steps.
ENDS = ("callbacks", "trainer.max_time", "trainer.min_epochs", "trainer.min_steps")


def find_changes(
    saved: dict[str, Any],
    config: dict[str, Any],
    *,
    named: list[str],
    place: str,
    legal: tuple[str, ...] = LEGAL,
    but: tuple[str, ...] = (),
) -> list[str]:
    """The dotted keys in which a config differs from the `saved` one of the run in `place`.

    legal, but: what may differ, and what of that may not.

    Raises:
        UserError: a run cannot go on with such a difference, or it is below none of the `named` keys.
    """
    saved, config = ({"threshold": THRESHOLD, **each} for each in (saved, config))
    before, now = dict(_leaves(saved)), dict(_leaves(redact(config, known=find_secrets(config))))
    keys = [key for key in sorted({*before, *now}) if not below(key, FREE)]
    changed = [key for key in keys if before.get(key) != now.get(key)]
    illegal = [key for key in changed if not below(key, legal) or below(key, but)]
    unnamed = [key for key in changed if not below(key, tuple(named))]
    if illegal or unnamed:
        lines = "; ".join(f"{key} was {before.get(key)}, is {now.get(key)}" for key in illegal or unnamed)
        way = f"If that is meant, say so with resume_changes=[{','.join(unnamed)}], or choose another folder."
        if illegal:
            way = "Change it back, or start a new run from its weights with init_from."
        raise UserError(f"The run in {place} was trained with another config: {lines}. {way}")
    old, new = (each["data"]["batch_size"] * readers(each) for each in (saved, config))
    if old != new:
        raise UserError(
            f"The run in {place} was trained on micro-batches of {old} examples over all processes; they would be "
            f"{new}, in another order. Set data.batch_size ({config['data']['batch_size']}) accordingly."
        )
    return changed


def check_length(config: dict[str, Any], start: Manifest, *, place: str) -> None:
    """Refuse to go on from a checkpoint that lies behind the end of the run.

    Raises:
        UserError: naming both.
    """
    epochs, steps = config["trainer"]["max_epochs"], config["trainer"]["max_steps"]
    if epochs not in (None, -1) and start.epoch >= epochs:
        raise UserError(f"trainer.max_epochs ({epochs}) ends before {place}, which is in epoch {start.epoch + 1}.")
    if steps != -1 and start.step > steps:
        raise UserError(f"trainer.max_steps ({steps}) ends before {place}, which has taken {start.step} steps.")


def what_ends(config: dict[str, Any]) -> str:
    """The settings that decide about an early end, as text to compare; folders may move."""
    leaves = {key: value for key, value in _leaves(config) if below(key, ENDS) and not key.endswith(".folder")}
    return json.dumps(leaves, sort_keys=True)


def differing_facts(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """`name (was ..., is ...)` for what two descriptions of data say differently; what only one says is left out."""
    pairs = {name: (before[name], now[name]) for name in before if name in now}
    return [f"{name} (was {old}, is {new})" for name, (old, new) in pairs.items() if old != new]


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def below(key: str, tops: tuple[str, ...]) -> bool:
    return any(key == top or key.startswith(f"{top}.") for top in tops)
