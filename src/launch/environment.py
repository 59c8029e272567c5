"""What a rank puts in order before torch is imported: its end with the launcher, its threads, its network."""

import ctypes
import os
import signal
import sys
from collections.abc import MutableMapping

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Be killed when the launcher is, however it dies: its lock is free then, and another run may take the folder."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we could ask for that
        os.kill(os.getpid(), signal.SIGKILL)


def prepare(variables: MutableMapping[str, str]) -> None:
    """What must stand in the environment before torch is imported, unless the user has set it.

    Ranks of one machine share its cores, and talk over its loopback interface alone: nobody else can connect.
    """
    if "TORCHELASTIC_RUN_ID" not in variables:
        variables.setdefault("OMP_NUM_THREADS", variables.get("SLURM_CPUS_PER_TASK", "1"))
        return
    local = int(variables["LOCAL_WORLD_SIZE"])
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    variables.setdefault("OMP_NUM_THREADS", str(max(1, cores // local)))
    if variables["WORLD_SIZE"] == variables["LOCAL_WORLD_SIZE"]:
        interface = "lo" if sys.platform == "linux" else "lo0"
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            variables.setdefault(name, interface)
