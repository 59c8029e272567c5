"""What a batch job asks for must be what the run will use: one place says nodes, processes and devices."""

import re
from typing import Any

from src.check.facts import Facts, ask
from src.check.hardware import Hardware, probe
from src.errors import UserError

# What a line of a script may hold: no blank, no quote, nothing that ends the line.
WORD = re.compile(r"[\w.,:@/+&|()\[\]*-]+")
# Seconds: Slurm looks once a minute.
EARLY = 60
WORDS = ("gpu_type", "memory", "partition", "account", "qos", "constraint")


def hardware_of_job(config: dict[str, Any]) -> Hardware:
    """What the node will have that trains; the machine that submits often has no GPU.

    Raises:
        UserError: trainer.accelerator leaves the choice to the machine it is read on.
    """
    accelerator = config["trainer"]["accelerator"]
    if accelerator in ("gpu", "cuda"):
        return Hardware(cuda=True, bf16=True)  # Ampere and later; for older ones precision=fp16 is a choice of its own
    if accelerator == "cpu":
        return probe("cpu")
    raise UserError(
        f"trainer.accelerator ({accelerator}) would be decided here, not where the job runs; say trainer=gpu or "
        "trainer=cpu."
    )


def job_devices_are_a_number(config: dict[str, Any], facts: Facts) -> str | None:
    devices = ask(config, "trainer.devices", 1)
    if not config.get("launcher") or (isinstance(devices, int) and devices > 0):
        return None
    return f"trainer.devices ({devices}) must be a number for a batch job, which does not know the node it will get."


def job_is_as_large_as_the_run(config: dict[str, Any], facts: Facts) -> str | None:
    """nodes, tasks_per_node and gpus_per_node are shown in the config, and may be typed, but decided by the trainer."""
    if not config.get("launcher"):
        return None
    trainer = config["trainer"]
    on_gpu = trainer["accelerator"] != "cpu"
    for key, source, due in (
        ("nodes", "num_nodes", trainer["num_nodes"]),
        ("tasks_per_node", "devices", trainer["devices"]),
        ("gpus_per_node", "devices" if on_gpu else "accelerator", trainer["devices"] if on_gpu else 0),
    ):
        if config["launcher"][key] != due:
            return (
                f"launcher.{key} ({config['launcher'][key]}) must be {due}, as trainer.{source} "
                f"({trainer[source]}) says; change that and leave launcher.{key} out."
            )
    if config["launcher"]["gpu_type"] is not None and not on_gpu:
        return f"launcher.gpu_type ({config['launcher']['gpu_type']}) needs trainer=gpu."
    return None


def job_values_are_words(config: dict[str, Any], facts: Facts) -> str | None:
    for name in WORDS:
        value = ask(config, f"launcher.{name}")
        if value is not None and not WORD.fullmatch(str(value)):
            return f"launcher.{name} ({value!r}) must be one word, as Slurm spells it."
    return None


def job_time_is_longer_than_its_warning(config: dict[str, Any], facts: Facts) -> str | None:
    time, lead = ask(config, "launcher.time"), ask(config, "launcher.signal_seconds")
    if time is None:
        return None
    limit = time_in_seconds(time)
    if limit is None:
        return f"launcher.time ({time}) must be minutes, hours:minutes:seconds or days-hours:minutes:seconds."
    if limit <= lead + EARLY:
        return (
            f"launcher.time ({time}) must be longer than launcher.signal_seconds ({lead}), the time for saving, and "
            f"the {EARLY} s by which Slurm may be early with it."
        )
    return None


def time_in_seconds(time: int | str) -> int | None:
    """A time limit as Slurm reads it: minutes, minutes:seconds, hours:minutes:seconds, or days- and hours first."""
    days, dash, rest = str(time).rpartition("-")
    parts = rest.split(":")
    if not all(part.isdecimal() for part in [*parts, *([days] if dash else [])]) or len(parts) > 3:
        return None
    units = (3600, 60, 1) if dash or len(parts) == 3 else (60, 1)
    return int(days or 0) * 86_400 + sum(int(part) * unit for part, unit in zip(parts, units, strict=False))
