"""Where jobs run: a number of them at once, each a process of its own on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from src.run.files import read_json
from src.sweep.devices import Gpus, cores_of
from src.sweep.jobs import LOG, Ending, Job, ending_of

# Seconds between two looks at the processes.
LOOK = 0.1


class Pool(Protocol):
    """Runs jobs somewhere. Only the driver calls it, from one thread."""

    @property
    def running(self) -> list[Job]:
        """Jobs that were started and have not been told as ended."""
        ...

    def room(self) -> bool:
        """True if one more job may start now."""
        ...

    def start(self, job: Job) -> None:
        """Begin with a frozen job, or go on with it."""
        ...

    def ended(self, *, seconds: float) -> list[tuple[Job, Ending]]:
        """Those that have ended since; waits for the first, but not longer than this."""
        ...

    def stop(self, received: signal.Signals) -> bool:
        """The driver was asked to end: True if it has to wait for the jobs, which end too."""
        ...

    def close(self) -> None:
        """Leave nothing of this driver's behind."""
        ...


class LocalPool:
    """`parallel` processes of this machine; they end with the driver, however it dies.

    Jobs that run beside others get GPUs and cores of their own; one alone has the whole machine.
    """

    def __init__(self, *, parallel: int, gpus: Gpus) -> None:
        self.parallel, self.gpus = parallel, gpus
        self.processes: dict[Job, subprocess.Popen[bytes]] = {}
        self.slots: dict[Job, int] = {}
        self.statuses: dict[Job, dict[str, Any] | None] = {}  # as the processes found them

    @property
    def running(self) -> list[Job]:
        """One process each."""
        return list(self.processes)

    def room(self) -> bool:
        """True if fewer than `parallel` run."""
        return len(self.processes) < self.parallel

    def start(self, job: Job) -> None:
        """One process in a session of its own: the terminal's Ctrl-C reaches the driver alone, which passes it on."""
        slot = min(set(range(self.parallel)) - set(self.slots.values()))
        variables = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self.parallel > 1:
            variables |= self.gpus.take(job)
        command = [sys.executable, "-m", "src.launch.job", str(job.folder), f"driver={os.getpid()}"]
        self.statuses[job] = read_json(job.folder / "status.json")
        with open(job.folder / LOG, "ab") as log, on_cores(slot, self.parallel):
            self.processes[job] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables, start_new_session=True
            )
        self.slots[job] = slot

    def ended(self, *, seconds: float) -> list[tuple[Job, Ending]]:
        """As soon as one or more have ended, or after so many seconds."""
        end = time.monotonic() + seconds
        while not (over := [job for job, process in self.processes.items() if process.poll() is not None]):
            if time.monotonic() >= end:
                return []
            time.sleep(LOOK)
        return [(job, ending_of(job.folder, self._forget(job), before=self.statuses.pop(job))) for job in over]

    def _forget(self, job: Job) -> int:
        del self.slots[job]
        self.gpus.give_back(job)
        return self.processes.pop(job).wait()

    def stop(self, received: signal.Signals) -> bool:
        """Pass the signal on: each job saves and leaves. Its own processes are its to end."""
        for process in self.processes.values():
            process.send_signal(received)
        return True

    def close(self) -> None:
        """Kill what still runs, with its processes; only a driver that fails itself comes here with any."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def on_cores(slot: int, parallel: int) -> Iterator[None]:
    """What is started inside the block gets this share of the cores; the driver itself keeps all."""
    if parallel == 1 or sys.platform != "linux":
        yield
        return
    mine: Sequence[int] = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores_of(mine, slot=slot, parallel=parallel))
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)
