"""One attention backend at one length, alone in a process: `python -m src.benchmark.attention_probe OPTIONS`.

It says one line of JSON with what it measured of memory, then for every line it reads one with the seconds of a round.
Memory comes first and in a process of its own, because what an earlier call has freed would serve the next unseen.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.errors import UserError

STATUS = Path("/proc/self/status")
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Tokens: kernels and threads are there before memory is counted. Two lengths, so that what is traced for one kind of
# shape is then traced for all.
WARM_UP = (64, 128)
LEAVE = 0.9  # share of the machine's free memory that an attempt may take


class Probe:
    """Inputs of one length and the two things that are measured: a forward alone, and a forward with its backward."""

    refused: str | None = None  # the sentence in which the backend says that it has no backward here

    def __init__(self, *, backend: str, device: str, length: int, precision: str, shape: dict[str, int]) -> None:
        """shape: batch_size, num_heads, num_kv_heads, head_width."""
        self.attend = importlib.import_module(f"src.attention.{backend}").attend
        self.settings: dict[str, Any] = {"device": device, "dtype": TYPES[precision], **shape}
        self.device, self.length = device, length

    def start(self) -> None:
        """Warm up; on CUDA at full length, where the warm-up compiles and its memory is not counted."""
        for length in WARM_UP if self.device == "cpu" else (self.length,):
            self.inputs = make_inputs(length, **self.settings)
            self.forward()
            self.refused = refusal(self.both)
        self.inputs = make_inputs(self.length, **self.settings)

    def forward(self) -> None:
        with torch.no_grad():
            self.attend(*(part.detach() for part in self.inputs[:3]))

    def both(self) -> None:
        *parts, upstream = self.inputs
        torch.autograd.grad(self.attend(*parts), parts, upstream)

    def measurable(self) -> dict[str, Callable[[], None]]:
        """Name to call; without the backward where it is refused."""
        return {"forward": self.forward} | ({} if self.refused else {"both": self.both})

    def memory(self) -> dict[str, Any]:
        """Bytes at the highest, above what inputs and process held before; None where the system does not tell."""
        start, peak = (cuda_start, cuda_peak) if self.device == "cuda" else (resident, resident_peak)
        base = start()
        found: dict[str, Any] = {}
        for name, call in self.measurable().items():
            call()
            highest = peak()
            found[name] = None if base is None or highest is None else highest - base
        return found

    def seconds(self) -> dict[str, float]:
        found = {}
        for name, call in self.measurable().items():
            begin = time.perf_counter()
            call()
            if self.device == "cuda":
                torch.cuda.synchronize()
            found[name] = time.perf_counter() - begin
        return found


def make_inputs(
    length: int, *, batch_size: int, num_heads: int, num_kv_heads: int, head_width: int, device: str, dtype: torch.dtype
) -> list[Tensor]:
    """q, k, v as a projection makes them, (B, T, H, E) seen as (B, H, T, E), and the gradient of the result."""
    torch.manual_seed(0)
    made = []
    for heads in (num_heads, num_kv_heads, num_kv_heads, num_heads):
        values = torch.randn(batch_size, length, heads, head_width, dtype=dtype, device=device)
        made.append(values.transpose(1, 2))
    return [*(part.requires_grad_() for part in made[:3]), made[3]]


def refusal(call: Callable[[], None]) -> str | None:
    """The sentence in which a backend says that it cannot do this here."""
    try:
        call()
    except UserError as error:
        return str(error)
    return None


def resident() -> int | None:
    """Bytes of the process now; its highest mark starts from here."""
    if not STATUS.is_file():
        return None
    # 5 sets the highest mark back to the present (Linux, man 5 proc).
    Path("/proc/self/clear_refs").write_text("5")
    return status_bytes("VmRSS")


def resident_peak() -> int | None:
    return status_bytes("VmHWM") if STATUS.is_file() else None


def status_bytes(name: str, path: Path = STATUS) -> int:
    """A line of /proc/self/status or /proc/meminfo in bytes."""
    [line] = [line for line in path.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def cuda_start() -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def cuda_peak() -> int:
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def limit_memory() -> None:
    """So that a length that does not fit fails in this process alone, and not by the kernel's choice of a victim."""
    if STATUS.is_file():
        import resource

        most = status_bytes("VmSize") + int(LEAVE * status_bytes("MemAvailable", Path("/proc/meminfo")))
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def is_out_of_memory(error: RuntimeError) -> bool:
    """torch has a class of its own for a GPU, and none for the machine's memory."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options.pop("threads"))
    probe = Probe(**options)
    if probe.device == "cpu":
        limit_memory()
    try:
        probe.start()
        say({"memory": probe.memory(), "refused": probe.refused})
        for _ in sys.stdin:
            say(probe.seconds())
    except UserError as error:
        say({"memory": {}, "refused": str(error)})
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        say({"memory": {}, "refused": f"out of memory at {probe.length} tokens"})


if __name__ == "__main__":
    main()
