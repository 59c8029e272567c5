"""Refuses a training that cannot fit into the memory of its device, and the table of what it needs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from src.check.facts import ask
from src.check.memory import Plan, plan_memory
from src.errors import UserError
from src.run.hardware import describe_processor

if TYPE_CHECKING:
    from torch import nn

GIB = 2**30


class Device(NamedTuple):
    """Where training runs, and the bytes it may use there."""

    name: str
    size: int
    cuda: bool


def check_memory(config: dict[str, Any], network: "nn.Module") -> None:
    """`network` is that of the resolved `config`, on the meta device.

    Raises:
        UserError: one step needs more than the device has, with the largest part and the ways out.
    """
    device = device_memory(config)
    sentence = too_large(config, plan_memory(config, network, cuda=device.cuda), device)
    if sentence is not None:
        raise UserError(sentence)


def memory_rows(config: dict[str, Any], network: "nn.Module") -> list[dict[str, Any]]:
    """One row per part of a training step, their sum, and what the device has."""
    device = device_memory(config)
    plan = plan_memory(config, network, cuda=device.cuda)
    parts = {**plan._asdict(), "total": plan.total, f"{device.name} has": device.size}
    return [{"memory": name, "GiB": "not estimated" if size is None else size / GIB} for name, size in parts.items()]


def too_large(config: dict[str, Any], plan: Plan, device: Device) -> str | None:
    """The sentence that refuses, or None."""
    if plan.total <= device.size:
        return None
    size, part = max((size or 0, name) for name, size in plan._asdict().items())
    needs = f"needs about {plan.total / GIB:.1f} GiB of memory, {size / GIB:.1f} of them for {part}"
    ways = ways_out(config, plan, device)
    return f"Training {needs}; {device.name} has {device.size / GIB:.1f}. Try {', '.join(ways[:-1])} or {ways[-1]}."


def ways_out(config: dict[str, Any], plan: Plan, device: Device) -> list[str]:
    """What would make it smaller, first what changes no result."""
    ways = []
    if plan.weights + plan.gradients + plan.optimizer < device.size:
        batch_size, checkpointing = ask(config, "data.batch_size"), ask(config, "model.checkpointing")
        if checkpointing in ("none", "selective"):
            ways.append("model.checkpointing=blocks")
        if batch_size > 1:
            ways.append(f"a data.batch_size below {batch_size} with accumulation=batches")
    if ask(config, "trainer.precision") not in ("bf16-true", "16-true"):
        ways.append("precision=bf16_true")
    return [*ways, "a smaller model", "a device with more memory"]


def device_memory(config: dict[str, Any]) -> Device:
    """All of a GPU's memory, or what is free of the machine's."""
    import torch

    if torch.cuda.is_available() and ask(config, "trainer.accelerator") != "cpu":
        devices = ask(config, "trainer.devices", 1)
        index = devices[0] if isinstance(devices, list) else 0
        properties = torch.cuda.get_device_properties(index)
        return Device(properties.name, properties.total_memory, cuda=True)
    free = free_memory(Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max"))
    return Device("this machine", free, cuda=False)


def free_memory(meminfo: Path, limit: Path) -> int:
    """What is free (Linux: MemAvailable), at most the limit of the container; without these files, the machine's."""
    sizes = [describe_processor()["memory_bytes"]]
    if meminfo.is_file():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        sizes.append(int(fields["MemAvailable"].split()[0]) * 1024)
    if limit.is_file() and limit.read_text().strip().isdigit():
        sizes.append(int(limit.read_text()))
    return min(sizes)
