"""Commands without the seconds that Python needs to import torch: the launcher and its ranks are forked.

All else is real: the command line, torch's elastic agent, one process per rank in a session of its own, their signals,
gloo.
"""

import os
import runpy
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

from src.launch import preflight, training, worker  # noqa: F401  imported once, for all that is forked
from src.run.heartbeat import read_beats
from src.run.signals import ASKING


class Forked:
    """What the agent asks of a subprocess.Popen: `pid`, `poll` and `wait`."""

    def __init__(self, work: Callable[[], int], variables: dict[str, str]) -> None:
        self.returncode: int | None = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
            self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                for number in ASKING:
                    signal.signal(number, signal.SIG_DFL)
                os.setsid()
                os.environ.clear()
                os.environ.update(variables)
                warnings.resetwarnings()
                torch.set_num_threads(1)  # the pool of the parent has no threads behind it here
                code = work()
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


def start(*arguments: str, terminal: Path, rank: Callable[[list[str]], int] = worker.main) -> Forked:
    """`python -m src.train <arguments>`, printing into `terminal`; `rank` stands for `python -m src.launch.worker`."""

    def launch() -> int:
        file = os.open(terminal, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        # What stood there may be pytest's.
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        sys.argv = ["src.train", *arguments]
        subprocess_handler.Popen = lambda args, env, **_: Forked(lambda: rank(list(args[3:])), env)  # type: ignore[assignment, misc]
        try:
            runpy.run_module("src.train", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0
        return 0

    return Forked(launch, dict(os.environ))


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
