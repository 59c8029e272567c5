"""Processes that train in one run folder, one after the other, each forked from a process that has imported torch.

What `python -m src.train` does once it has composed and checked is real here, and so are the deaths.
"""

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from src.launch import preflight, resuming, training
from src.launch.compose import CONFIG_FOLDER, register_resolvers
from src.launch.environment import die_with
from src.launch.rank import Process
from src.run.signals import listen
from tests.events import Event, Record, read_events
from tests.forked import Forked
from tests.phases import Phases

COMMON = ["trainer.accelerator=cpu", "precision=fp32", "resume=auto", "data.reader.num_reviews=200"]
COMMON += ["schedule=warmup_cosine", "schedule.warmup=3", "trainer.log_every_n_steps=3"]
# Both stop early, at step 18 and 25, in the middle of an epoch. The BiLSTM validates after every 4 of its 10 batches,
# and saves after every third step as well; the language model after every 5 of its 20, every second time inside an
# accumulation window.
MODELS = {
    "bilstm": [
        "data=demo", "data.batch_size=16", "model.width=16", "model.hidden=16", "model.dropout=0.4",
        "optimizer.lr=0.1", "trainer.max_epochs=5", "trainer.val_check_interval=4",
        "callbacks.early_stopping.patience=2", "callbacks.checkpoint.every_steps=3",
    ],
    "lm": [
        "model=transformer_tiny", "data=demo_text", "data.max_length=32", "data.batch_size=16", "model.width=32",
        "model.num_layers=2", "model.num_heads=2", "model.feed_forward_width=64", "model.dropout=0.2",
        "optimizer.lr=0.01", "trainer.max_epochs=5", "trainer.val_check_interval=5", "accumulation=batches",
        "accumulation.batches=2", "callbacks.early_stopping.patience=2", "+callbacks.early_stopping.min_delta=0.3",
    ],
}  # fmt: skip


@dataclass
class Run:
    """One run folder, with the events of each of its processes beside it."""

    folder: Path
    config: dict[str, Any]
    variables: dict[str, str] = field(default_factory=dict)  # of the environment of its processes
    processes: int = 0

    @contextmanager
    def process(self, *, death: tuple[str, int] | None = None) -> Iterator[Forked]:
        """A process that goes on with the run; it ends with the block.

        death: the phase of a save before which it kills itself, and at which of its times.
        """
        process = self.begin(death=death)
        try:
            yield process
        finally:
            if process.poll() is None:
                kill(process)

    def begin(self, *, death: tuple[str, int] | None = None) -> Forked:
        """The same, for who waits for its end."""
        self.processes += 1
        work = partial(train, self.config, self.folder, self.events_file(self.processes), self.terminal, death)
        return Forked(partial(reported, work), {**os.environ, **self.variables})

    def events_file(self, number: int) -> Path:
        return self.folder.with_name(f"{self.folder.name}-process-{number:03d}.txt")

    @property
    def terminal(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}-terminal.txt")

    @property
    def phases_file(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}-phases.json")

    def pieces(self) -> list[list[Event]]:
        """The events of each process so far."""
        return [read_events(self.events_file(number + 1)) for number in range(self.processes)]


def typed(model: str, *overrides: str, outputs: Path) -> list[str]:
    """The arguments of `python -m src.train` for one of MODELS, all but the run folder."""
    return [*COMMON, *MODELS[model], f"paths.output_dir={outputs}", *overrides]


def new_run(folder: Path, model: str, *overrides: str, **variables: str) -> Run:
    """A run of one of MODELS that has not begun; the data is cached beside it."""
    register_resolvers()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        composed = compose("train", overrides=typed(model, *overrides, outputs=folder.parent))
    config = preflight.preflight(composed, run_dir=str(folder))
    return Run(folder, config, variables)


def reported(work: Any) -> int:
    """The exit code of a process; what it raises is printed."""
    try:
        work()
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def train(config: dict[str, Any], folder: Path, events: Path, terminal: Path, death: tuple[str, int] | None) -> None:
    """Train in the folder, or go on: `src.train.main` behind its checks."""
    die_with(os.getppid())
    file = os.open(terminal, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    tempfile.tempdir = None  # TMPDIR may be another one here
    phases = Phases(folder / "checkpoints", death=death)
    training.Process = partial(Process, callbacks=(Record(events),))  # type: ignore[misc, assignment]
    with listen() as signals:
        opened = resuming.open(config, folder)
        if not opened.finished:
            training.train_run(opened.config, opened.run, signals=signals)
        elif not opened.run.report.exists():
            training.conclude(opened.run)
    phases.write(folder.with_name(f"{folder.name}-phases.json"))


def kill(process: Forked) -> None:
    """SIGKILL to a process and its children, the workers of a loader."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def outlives(process: Forked, seconds: float, *, until: Callable[[], bool] = lambda: False) -> bool:
    """True if it still runs after so many seconds, or at the first moment at which something is so."""
    end = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() >= end or until():
            return True
        time.sleep(0.002)
    return False
