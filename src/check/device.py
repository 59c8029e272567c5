"""The device that a plan is made for: the one here, that of a batch job, or any that src/run/devices.py knows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from src.check.facts import ask
from src.check.global_batch import count_devices
from src.check.nearest import nearest
from src.errors import UserError
from src.run.devices import MEMORY, SHORT, full_name
from src.run.hardware import describe_processor

GIB = 2**30
# What a process takes beside its tensors. CPU: Python, torch and Lightning, measured. CUDA: an allowance, no formula,
# for the driver's share, the context, workspaces of cuBLAS (32 MiB on Hopper) and the channels of NCCL.
FRAMEWORK = {False: GIB // 2, True: 3 * GIB // 2}


@dataclass(frozen=True, kw_only=True)
class Planning:
    """The section `plan` of conf/check.yaml."""

    device: str | None
    mfu: Annotated[float, "> 0, <= 1"]
    tokens: Annotated[float, "> 0"] | None


class Device(NamedTuple):
    """Where training runs, and the bytes that one process may use there, None where nobody here knows."""

    name: str
    size: int | None
    cuda: bool

    @property
    def framework(self) -> int:
        return FRAMEWORK[self.cuda]


def named_device(name: str) -> Device:
    """A device by the driver's name or a short one.

    Raises:
        UserError: it is not in the table.
    """
    full = full_name(name)
    if full is None:
        guess = nearest(name, [*SHORT, *MEMORY])
        hint = f"did you mean {guess}?" if guess else f"known are {', '.join(sorted(SHORT))}."
        raise UserError(f"plan.device ({name}) is not a device of src/run/devices.py; {hint}")
    return Device(full, MEMORY[full], cuda=True)


def device_memory(config: dict[str, Any]) -> Device:
    """All of a GPU's memory; on a CPU each process's part of what is free; nothing known of the node of a batch job."""
    import torch

    accelerator, devices = ask(config, "trainer.accelerator"), ask(config, "trainer.devices", 1)
    if config.get("launcher"):
        return Device("the node of the job", None, cuda=accelerator != "cpu")
    if torch.cuda.is_available() and accelerator != "cpu":
        index = devices[0] if isinstance(devices, list) else 0
        properties = torch.cuda.get_device_properties(index)
        return Device(properties.name, properties.total_memory, cuda=True)
    free, processes = free_memory(Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")), count_devices(devices)
    name = "this machine" if processes == 1 else f"this machine, for each of {processes} processes,"
    return Device(name, free // max(1, processes), cuda=False)


def free_memory(meminfo: Path, limit: Path) -> int:
    """What is free (Linux: MemAvailable), at most the limit of the container; without these files, the machine's."""
    sizes = [describe_processor()["memory_bytes"]]
    if meminfo.is_file():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        sizes.append(int(fields["MemAvailable"].split()[0]) * 1024)
    if limit.is_file() and limit.read_text().strip().isdigit():
        sizes.append(int(limit.read_text()))
    return min(sizes)
