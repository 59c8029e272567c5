"""One run in several processes of this machine: torch's elastic agent starts them, they read the run folder."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing.api import LogsDest, LogsSpecs, SubprocessContext

from src.launch.meeting import Loopback
from src.launch.rank import launch_name
from src.launch.verdict import verdict
from src.launch.watch import Watch, timeout_of
from src.run.folder import RunFolder
from src.run.signals import Signals

WORKER = "src.launch.worker"


def run_processes(config: dict[str, Any], run: RunFolder, *, count: int, signals: Signals) -> None:
    """Train in `count` processes of this machine; returns when all have ended well.

    Raises:
        UserError, Diverged, RankFailed, Terminated, Interrupted: the end of the rank that ended first on its own.
    """
    for left_over in run.logs.glob("rank-*.json"):
        left_over.unlink()
    watch = Watch(logs=run.logs, signals=signals, timeout=timeout_of(config))
    spec = WorkerSpec(
        role="rank",
        local_world_size=count,
        entrypoint=sys.executable,
        args=("-m", WORKER, str(run.path.resolve())),
        rdzv_handler=Loopback(launch_name(os.getpid())),
        max_restarts=0,
        monitor_interval=0.1,
    )
    with signals.held(), words_of_torch_in(run.logs / "launcher.log"), signals_left_alone():
        Agent(spec, Inherited(), watch=watch).run()
    error = verdict(watch)
    if error is not None:
        raise error


class Agent(LocalElasticAgent):
    """Asks `watch` before it collects its processes.

    By itself the agent sends SIGTERM to all others as soon as one has ended, and SIGKILL 30 s later, whatever they
    are saving; torch has no setting for that end of its grace period.
    """

    def __init__(self, spec: WorkerSpec, logs_specs: LogsSpecs, *, watch: Watch) -> None:
        super().__init__(spec, logs_specs)
        self.watch = watch

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        if self.watch.look(*self._processes()):
            return super()._monitor_workers(worker_group)
        return RunResult(state=WorkerState.HEALTHY)

    def _shutdown(self, *how: Any, **options: Any) -> None:  # a signal; since torch 2.12 also a timeout
        # Reached with living ranks only by an exception of the launcher itself, as a second Ctrl-C is.
        pids, codes = self._processes()
        self.watch.kill({rank: pid for rank, pid in pids.items() if codes[rank] is None})
        super()._shutdown(*how, **options)

    def _processes(self) -> tuple[dict[int, int], dict[int, int | None]]:
        """pid and exit code by rank; none before they are started."""
        if not isinstance(self._pcontext, SubprocessContext):
            return {}, {}
        processes = {rank: handler.proc for rank, handler in self._pcontext.subprocess_handlers.items()}
        return {rank: p.pid for rank, p in processes.items()}, {rank: p.poll() for rank, p in processes.items()}


class Inherited(LogsSpecs):
    """Ranks start with the launcher's own outputs and turn to their files themselves (see outputs.py)."""

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        ranks = range(len(envs))
        return LogsDest(
            stdouts=dict.fromkeys(ranks, ""),
            stderrs=dict.fromkeys(ranks, ""),
            error_files=dict.fromkeys(ranks, os.devnull),
        )

    @property
    def root_log_dir(self) -> str:
        return os.devnull


@contextmanager
def words_of_torch_in(path: Path) -> Iterator[None]:
    """The agent's warnings about its processes go to a file: what of them matters is said in the end, once."""
    logger = logging.getLogger("torch.distributed.elastic")
    handler = logging.FileHandler(path)
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def signals_left_alone() -> Iterator[None]:
    """Keep the agent from taking over SIGTERM and SIGINT: its handlers raise at any line and give ranks 30 s.

    It must be told one signal at least.
    """
    name, quit_handler = "TORCHELASTIC_SIGNALS_TO_HANDLE", signal.getsignal(signal.SIGQUIT)
    before = os.environ.get(name)
    os.environ[name] = "SIGQUIT"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
        if isinstance(quit_handler, signal.Handlers):
            signal.signal(signal.SIGQUIT, quit_handler)
