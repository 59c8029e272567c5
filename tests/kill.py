"""SIGKILL at random times, resumed after each: `python -m tests.kill [kills=200] [model=bilstm|lm|both] [seed=0]`.

One run after the other is trained to its end through kills: at any time, while it trains, and at every step of saving a
checkpoint. Each must end as a run that was left alone: the same losses, rows, validations, weights, files. Other
arguments: tmpdir=DIR, the TMPDIR of all processes, and overrides of the config, as in
callbacks.checkpoint.asynchronous=true.
"""

import contextlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums keep their order, and a process without threads can be forked

import src  # noqa: F401  first: what it sets only counts before torch is imported
from src.run.checkpoint import load_latest
from src.run.manifest import find_last
from tests.events import BATCH, VALIDATION, Event, compare_pieces
from tests.forked import Forked
from tests.legs import MODELS, Run, kill, new_run, outlives
from tests.same_run import differences

ANY_TIME, TRAINING, SAVING = ("at any time", "while training", "in a save")
BOUND = 120.0  # seconds; a process that still runs then hangs


@dataclass(frozen=True)
class Whole:
    """The run that was left alone: its events, its seconds until the first of them and in all, its phases of saves."""

    run: Run
    events: list[Event]
    first: float
    seconds: float
    phases: dict[str, int]


@dataclass
class Tally:
    """What happened, and everything that must not happen: (what, a sentence)."""

    kills: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    processes: int = 0
    batches: int = 0
    pace: float = 1.0  # of the machine now to what it was for the run that was left alone, so that kills still come
    problems: list[tuple[str, str]] = field(default_factory=list)


def left_alone(run: Run) -> Whole:
    """Train without a kill."""
    began = time.monotonic()
    with run.process() as process:
        outlives(process, BOUND, until=lambda: bool(run.pieces()[0]))
        first = time.monotonic() - began
        code = process.wait(BOUND)
    assert code == 0, run.terminal.read_text()[-3000:]
    phases = json.loads(run.phases_file.read_text())
    return Whole(run, run.pieces()[0], first, time.monotonic() - began, phases)


def kill_and_resume(
    run: Run, whole: Whole, *, draw: random.Random, ways: list[str], tally: Tally, after: Callable[[Run], object]
) -> None:
    """Train to the end in as many processes as that takes; takes from `ways` how each of them is killed."""
    code = -9
    while code != 0:
        way, newest = (ways[0] if ways else None), newest_step(run)
        phase = draw.choice(sorted(whole.phases))
        death = (phase, draw.randint(1, max(1, whole.phases[phase] // 3))) if way == SAVING else None
        with run.process(death=death) as process:
            if way in (ANY_TIME, TRAINING) and outlives(process, delay(process, run, whole, way, draw) * tally.pace):
                kill(process)
            code = process.wait(BOUND)
        tally.processes += 1
        assert code == 0 or (code == -9 and way), f"exit code {code}: {run.terminal.read_text()[-3000:]}"
        tally.pace = tally.pace * 0.8 if code == 0 else min(1.0, tally.pace * 1.1)
        if code:
            ways.pop(0)
            tally.kills[str(way)] += 1
            tally.phases.update([phase] if death else [])
            if newest_step(run) < newest:
                tally.problems.append(("lost checkpoint", f"step {newest_step(run)} after {newest}; {death}"))
            after(run)


def delay(process: Forked, run: Run, whole: Whole, way: str, draw: random.Random) -> float:
    """Seconds from now on after which it is to be killed; returns when it has begun to train, if it is to do so."""
    if way == ANY_TIME:
        return draw.uniform(0, whole.seconds)
    outlives(process, BOUND, until=lambda: bool(run.pieces()[-1]))
    return draw.uniform(0, (whole.seconds - whole.first) / 2)


def newest_step(run: Run) -> int:
    """Of the newest whole checkpoint, which is loaded; -1 if nothing was ever committed.

    Raises:
        UserError: something was, and nothing can be loaded.
    """
    if find_last(run.folder / "checkpoints") is None:
        return -1
    with contextlib.redirect_stderr(io.StringIO()):
        return load_latest(run.folder / "checkpoints")["global_step"]


def check(run: Run, whole: Whole, tally: Tally) -> None:
    """Compare with the run that was left alone; then relaunch what has finished, which must do nothing."""
    pieces = run.pieces()
    tally.batches += sum(event.kind == BATCH for piece in pieces for event in piece)
    tally.problems += compare_pieces(whole.events, pieces)
    tally.problems += [("end", words) for words in differences(whole.run.folder, run.folder)]
    before = (run.folder / "result.json").read_bytes()
    with run.process() as process:
        code = process.wait(BOUND)
    if code != 0 or run.pieces()[-1] or (run.folder / "result.json").read_bytes() != before:
        tally.problems.append(("relaunch", f"exit code {code}, {len(run.pieces()[-1])} events"))


def chains(
    folder: Path,
    model: str,
    *overrides: str,
    kills: int,
    seed: int = 0,
    tmpdir: str = "",
    after: Callable[[Run], object] = lambda run: None,
) -> Tally:
    """So many kills, in as many runs as that takes. after: is called with the run after each of them."""
    draw, tally, variables = random.Random(seed), Tally(), {"TMPDIR": tmpdir} if tmpdir else {}
    whole = left_alone(new_run(folder / "alone", model, *overrides, **variables))
    # A quarter at any time, imports of the last modules and reading of the data included.
    ways = [(ANY_TIME, TRAINING, SAVING, TRAINING)[number % 4] for number in range(kills)]
    while ways:
        tally.runs += 1
        run = new_run(folder / f"run-{tally.runs}", model, *overrides, **variables)
        kill_and_resume(run, whole, draw=draw, ways=ways, tally=tally, after=after)
        before = len(tally.problems)
        check(run, whole, tally)
        if len(tally.problems) == before:
            shutil.rmtree(run.folder)
    if tmpdir and (left := os.listdir(tmpdir)):
        tally.problems.append(("files in TMPDIR", str(left)))
    return tally


def report(model: str, tally: Tally, *, seconds: float) -> None:
    """Print a table of what happened."""
    found = Counter(what for what, _ in tally.problems)
    rows = {
        "kills": ", ".join(f"{count} {way}" for way, count in tally.kills.items()),
        "phases of saves": ", ".join(f"{phase}: {count}" for phase, count in sorted(tally.phases.items())),
        "runs, processes": f"{tally.runs}, {tally.processes}",
        "batches compared": f"{tally.batches:,}",
        "differing losses or rows": found.pop(BATCH, 0),
        "differing or lost validations": found.pop(VALIDATION, 0) + found.pop(f"lost {VALIDATION}", 0),
        "lost checkpoints": found.pop("lost checkpoint", 0),
        "differing weights, metrics, files": found.pop("end", 0),
        "anything else": sum(found.values()),
        "seconds": f"{seconds:.0f}",
    }
    print(model)
    print("\n".join(f"  {name:<34}{value}" for name, value in rows.items()))
    print("".join(f"  {what}: {words}\n" for what, words in tally.problems[:20]), end="", flush=True)


def main(*overrides: str, kills: int, model: str, seed: int, tmpdir: str) -> int:
    """Print what happened; 0 if nothing happened that must not."""
    problems = 0
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads must not be forked: locks stay locked"
    for name in MODELS if model == "both" else [model]:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            tally = chains(Path(folder), name, *overrides, kills=kills, seed=seed, tmpdir=tmpdir)
        report(name, tally, seconds=time.monotonic() - started)
        problems += len(tally.problems)
    return 1 if problems else 0


if __name__ == "__main__":
    typed = dict(argument.split("=", 1) for argument in sys.argv[1:])
    options = {name: typed.pop(name, default) for name, default in (("model", "both"), ("tmpdir", ""))}
    numbers = {name: int(typed.pop(name, default)) for name, default in (("kills", 200), ("seed", 0))}
    sys.exit(main(*(f"{name}={value}" for name, value in typed.items()), **options, **numbers))
