"""Commands without the seconds that Python needs to import torch: launchers, jobs of sweeps and ranks are forked.

All else is real: the command line, the driver of a sweep, torch's elastic agent, one process per job and per rank in a
session of its own, their signals, gloo.
"""

import gc
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import torch
from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

from src.launch import job, preflight, training, worker  # noqa: F401  imported once, for all that is forked
from src.run.heartbeat import read_beats
from src.run.signals import ASKING
from src.sweep import pool

# In a build of torch for GPUs the first fake tensor, as torch.compile makes them, pretends a GPU; the next backward
# starts a thread for it, and from then on torch refuses backward in every fork of this process.
torch._C._ensureCUDADeviceGuardSet = lambda: None


class Forked:
    """What the agent and the driver ask of a subprocess.Popen: `pid`, `poll`, `wait` and `send_signal`."""

    def __init__(self, work: Callable[[], int], variables: dict[str, str]) -> None:
        self.returncode: int | None = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
            self.pid = os.fork()
        if self.pid == 0:
            # A store of torch among the parent's garbage would wait for a thread that has stayed in the parent.
            gc.freeze()
            code = 70
            try:
                for number in ASKING:
                    signal.signal(number, signal.SIG_DFL)
                os.setsid()
                os.environ.clear()
                os.environ.update(variables)
                warnings.resetwarnings()
                torch.set_num_threads(1)  # the pool of the parent has no threads behind it here
                try:
                    code = work()
                except SystemExit as end:
                    code = end.code if isinstance(end.code, int) else 1
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = time.monotonic() + (1e9 if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("forked", timeout or 0)
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def start(*arguments: str, terminal: Path, rank: Callable[[list[str]], int] = worker.main) -> Forked:
    """`python -m src.train <arguments>`, printing into `terminal`; `rank` stands for `python -m src.launch.worker`."""

    def train() -> object:
        sys.argv = ["src.train", *arguments]
        subprocess_handler.Popen = lambda args, env, **_: Forked(lambda: rank(list(args[3:])), env)  # type: ignore[assignment, misc]
        pool.subprocess = SimpleNamespace(Popen=start_job, DEVNULL=subprocess.DEVNULL)  # type: ignore[assignment]
        return runpy.run_module("src.train", run_name="__main__", alter_sys=True)

    file = os.open(terminal, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    try:
        return Forked(lambda: ended(train, file), dict(os.environ))
    finally:
        os.close(file)


def start_job(args: list[str], *, stdout: IO[bytes], env: dict[str, str], **_: object) -> Forked:
    """What the driver of a sweep starts for each job."""
    return Forked(lambda: ended(lambda: job.main(args[3:]), stdout.fileno()), env)


def ended(work: Callable[[], object], file: int) -> int:
    """The exit code of a command that prints into a file; what stood at its outputs may be pytest's."""
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    try:
        work()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def pids(run: Path, launcher: Forked, *, ranks: int = 2, marks: int = 0, seconds: float = 60) -> dict[str, int]:
    """Living processes of a run by name, "launcher", "0", "1", once each rank has passed `marks`, or after so long."""
    end = time.monotonic() + seconds
    while True:
        # An earlier attempt may have left files behind.
        beats = {rank: beat for rank, beat in read_beats(run / "logs").items() if parent(beat.pid) == launcher.pid}
        come = len(beats) == ranks and all(beat.marks >= marks for beat in beats.values())
        if come or launcher.poll() is not None or time.monotonic() >= end:
            break
        time.sleep(0.02)
    return {"launcher": launcher.pid} | {str(rank): beat.pid for rank, beat in beats.items() if beat.outcome is None}


def parent(pid: int) -> int | None:
    """The parent of a living process; None for one that has ended, as a zombie has."""
    try:
        state, number = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state in "ZX" else int(number)


def settle(processes: dict[str, int], *, seconds: float = 10) -> list[str]:
    """Those that still run after at most so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(parent(pid) for pid in processes.values()):
        time.sleep(0.05)
    return [name for name, pid in processes.items() if parent(pid)]
