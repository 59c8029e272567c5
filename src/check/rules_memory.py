"""Refuses a training that cannot fit into the memory of its device, with what would make it fit."""

import copy
from typing import TYPE_CHECKING, Any

from src.check.device import GIB, Device, device_memory
from src.check.facts import ask
from src.check.global_batch import count_devices
from src.check.memory import Plan, plan_memory
from src.check.rules_strategy import DEEPSPEED, SHARDED, kind
from src.errors import UserError

if TYPE_CHECKING:
    from torch import nn

NODE = 8  # GPUs of the usual machine for training
# In words, and as values at dotted keys; the mildest first.
Options = list[tuple[str, dict[str, Any]]]


def check_memory(config: dict[str, Any], network: "nn.Module", device: Device | None = None) -> None:
    """`network` is that of the resolved `config`, on the meta device; device: None is the one that trains here.

    Raises:
        UserError: one step needs more than the device has, with the largest part and the ways out.
    """
    device = device_memory(config) if device is None else device
    sentence = too_large(config, network, device)
    if sentence is not None:
        raise UserError(sentence)


def too_large(config: dict[str, Any], network: "nn.Module", device: Device) -> str | None:
    """The sentence that refuses, or None."""
    plan = plan_memory(config, network, cuda=device.cuda)
    if device.size is None or needed(plan, device) <= device.size:
        return None
    size, part = max((size, name) for name, size in plan.peak.items())
    needs = f"needs about {needed(plan, device) / GIB:.1f} GiB of memory, {size / GIB:.1f} of them for {part}"
    ways = [*ways_out(config, network, device), "a smaller model", "a device with more memory"]
    return f"Training {needs}; {device.name} has {device.size / GIB:.1f}. Try {', '.join(ways[:-1])} or {ways[-1]}."


def needed(plan: Plan, device: Device) -> int:
    return plan.total + device.framework


def ways_out(config: dict[str, Any], network: "nn.Module", device: Device) -> list[str]:
    """What would make it fit, cheapest first, with what it then needs; what none of them can alone, together."""

    def first_that_fits(base: dict[str, Any], options: Options) -> str | None:
        for words, changes in options:
            size = needed(plan_memory(change(base, changes), network, cuda=device.cuda), device)
            if device.size is not None and size <= device.size:
                return f"{words} ({size / GIB:.1f} GiB)"
        return None

    choices = [options for options in choices_of(config, device) if options]
    alone = [first_that_fits(config, options) for options in choices]
    if any(alone):
        return [words for words in alone if words is not None]
    changed, said = config, list[str]()
    for options in choices:
        found = first_that_fits(changed, options)
        if found is not None:
            return [" with ".join([*said, found])]
        words, changes = options[-1]
        changed, said = change(changed, changes), [*said, words]
    return []


def choices_of(config: dict[str, Any], device: Device) -> list[Options]:
    """Kinds of changes, the cheapest first: a second forward, smaller batches, more devices, precision."""
    checkpointing, batches, devices, precision = [], [], [], []
    if ask(config, "model.checkpointing") in ("none", "selective"):
        checkpointing.append(("model.checkpointing=blocks", {"model.checkpointing": "blocks"}))
    rows, accumulated, parts = ask(config, "data.batch_size"), ask(config, "trainer.accumulate_grad_batches", 1), 2
    while rows % parts == 0 and kind(config) != DEEPSPEED:  # its engine accumulates by itself, which is refused
        words = f"data.batch_size={rows // parts} accumulation=batches accumulation.batches={accumulated * parts}"
        changes = {"data.batch_size": rows // parts, "trainer.accumulate_grad_batches": accumulated * parts}
        batches.append((words, changes))
        parts *= 2
    present = count_devices(ask(config, "trainer.devices", 1)) * ask(config, "trainer.num_nodes", 1)
    sharded = kind(config) == SHARDED
    for nodes in (1, 2, 4, 8, 16, 32, 64) if device.cuda else ():
        if nodes * NODE > present or (not sharded and nodes * NODE == present):
            strategy = ask(config, "trainer.strategy") if sharded else {"_target_": SHARDED}
            words = f"{'' if sharded else 'strategy=fsdp '}trainer.devices={NODE} trainer.num_nodes={nodes}"
            changes = {"trainer.strategy": strategy, "trainer.devices": NODE, "trainer.num_nodes": nodes}
            devices.append((words.removesuffix(" trainer.num_nodes=1"), changes))
    if ask(config, "trainer.precision") not in ("bf16-true", "16-true"):
        precision.append(("precision=bf16_true", {"trainer.precision": "bf16-true"}))
    return [checkpointing, batches, devices, precision]


def change(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with other values at dotted keys."""
    changed = copy.deepcopy(config)
    for key, value in changes.items():
        section, _, name = key.partition(".")
        changed[section][name] = value
    return changed
