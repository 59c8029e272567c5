"""The process group of a run: its backend and its timeout."""

import atexit
from datetime import timedelta
from typing import Annotated

import torch
from torch import distributed

# Seconds that a rank waits for the others in one collective before it gives up.
Timeout = Annotated[float, "> 0"]
# Flags and objects of the host go over gloo, so that no kernel and no copy stands between two ranks that agree.
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}


def backend_for(device: torch.device) -> str:
    """The backend of the ranks of this device; NCCL wants its group given back before the process ends."""
    if device.type == "cuda":
        atexit.register(leave)
    return BACKENDS.get(device.type, "gloo")


def seconds(timeout: float) -> timedelta:
    return timedelta(seconds=timeout)


def leave() -> None:
    """Give the group back, if there still is one."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
