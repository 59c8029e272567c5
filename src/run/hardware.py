"""What a run stands on: processor, memory, accelerators."""

import os
import platform
import sys
from pathlib import Path
from typing import Any

_BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # the last is the name on Arm
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG")


def describe_processor() -> dict[str, Any]:
    """Model, cores (of the machine, and usable by this process), memory in bytes, bf16 units, thread settings."""
    model, flags = _cpuinfo()
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "bf16_units": [flag for flag in _BF16_FLAGS if flag in flags],
        "variables": {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
    }


def _cpuinfo() -> tuple[str, frozenset[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return "", frozenset()
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = fields.get("flags", fields.get("Features", ""))
    return fields.get("model name", ""), frozenset(flags.split())


def describe_accelerators(torch: Any) -> list[dict[str, Any]]:
    """Name, memory in bytes and compute capability of every GPU that `torch` (the module) sees."""
    if not torch.cuda.is_available():
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        capability = f"{device.major}.{device.minor}"
        found.append({"name": device.name, "memory_bytes": device.total_memory, "capability": capability})
    return found
