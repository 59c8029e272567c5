"""SIGTERM at random times to a run of two ranks, resumed after each: `python -m tests.terminate [signals=60] [seed=0]`.

One run after the other is trained to its end on the demo corpus, the signal sent to rank 0, to rank 1, to the launcher
or to all of them. Counts hangs, exit codes, processes left behind, and compares what each run ends with, to the bit, to
a run that was left alone.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # ranks share the machine, and sums keep their order

import src  # noqa: F401  first: what it sets only counts before torch is imported
from src.run.files import read_json
from src.run.heartbeat import read_beats
from tests.forked import Forked, pids, settle, start

TARGETS = ("rank 0", "rank 1", "launcher", "all")
BOUND = 60.0  # seconds; a process that still runs then hangs
SMALL = ["data=demo", "data.reader.num_reviews=200", "data.batch_size=8", "model.width=16", "model.hidden=16"]
SMALL += ["strategy=ddp", "trainer=cpu", "precision=fp32", "trainer.max_epochs=2", "resume=auto"]
SMALL += ["trainer.strategy.timeout=30", "model.dropout=0.3"]


@dataclass
class Tally:
    """What happened: exit codes of the attempts that were signalled, and everything that must not happen."""

    codes: Counter[int] = field(default_factory=Counter)
    runs: int = 0
    problems: list[str] = field(default_factory=list)


def begin(run: Path) -> Forked:
    """The command that starts a run, and continues it."""
    arguments = [f"hydra.run.dir={run}", f"paths.output_dir={run.parent}"]
    return start(*SMALL, *arguments, terminal=run.parent / "terminal.txt")


def left_alone(folder: Path) -> tuple[Path, float, int]:
    """A run without signals, the seconds it took, and the marks that its ranks have passed."""
    began = time.monotonic()
    code = begin(folder / "alone").wait(BOUND)
    assert code == 0, (folder / "terminal.txt").read_text()[-3000:]
    return folder / "alone", time.monotonic() - began, read_beats(folder / "alone" / "logs")[0].marks


def signalled(run: Path, target: str, *, delay: float, marks: int, tally: Tally) -> tuple[int | None, bool]:
    """One attempt that gets its signal after so many marks and then seconds.

    Returns its exit code, None if it hung, and whether anybody was left to be told.
    """
    launcher = begin(run)
    pids(run, launcher, marks=marks, seconds=BOUND if marks else 0)
    time.sleep(delay)
    processes = pids(run, launcher, seconds=0)
    # Before there are ranks, only the launcher can be told.
    names = [target.removeprefix("rank ")] if target != "all" and len(processes) > 1 else list(processes)
    told = [tell(processes[name]) for name in names if name in processes and launcher.poll() is None]
    where = f"{target} after {marks} marks and {delay:.2f} s"
    try:
        code = launcher.wait(BOUND)
    except subprocess.TimeoutExpired:
        tally.problems.append(f"{where}: hung")
        os.killpg(launcher.pid, signal.SIGKILL)
        launcher.wait()
        return None, True
    said = (run.parent / "terminal.txt").read_text()
    code = code if code >= 0 else 128 - code  # as a shell counts; no handler is set in the first milliseconds
    if any(told):
        tally.codes[code] += 1
    left = settle(processes)
    # 0: all work was done by then.
    state = (read_json(run / "status.json") or {}).get("state")
    if left or "Traceback" in said or code not in (0, 143) or (code == 0 and state != "finished"):
        tally.problems.append(f"{where}: exit code {code}, left {left}, said {said[-2000:]}")
    return code, any(told)


def tell(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return False
    return True


def chain(folder: Path, targets: list[str], *, seed: int) -> Tally:
    """So many signals, in as many runs as that takes; the last run is then left alone to its end."""
    draw, tally = random.Random(seed), Tally()
    alone, seconds, marks = left_alone(folder)
    waiting = list(targets)
    while waiting:
        tally.runs += 1
        run = folder / f"run-{tally.runs}"
        code: int | None = 143
        while waiting and code != 0:
            # Every fourth at any time, imports and composing included; the others while the ranks train.
            early = draw.random() < 0.25
            when = (draw.uniform(0, seconds), 0) if early else (draw.uniform(0, 0.1), draw.randint(1, marks // 3))
            code, told = signalled(run, waiting[0], delay=when[0], marks=when[1], tally=tally)
            if told:
                waiting.pop(0)
        if code != 0 and begin(run).wait(BOUND) != 0:
            tally.problems.append(f"not resumed: {(folder / 'terminal.txt').read_text()[-2000:]}")
            continue
        tally.problems += [f"run {tally.runs}: {words}" for words in differences(alone, run)]
        print(f"run {tally.runs}: {sum(tally.codes.values())} signals, {len(tally.problems)} problems", flush=True)
    return tally


def differences(alone: Path, run: Path) -> list[str]:
    """Where a run ended otherwise than the one that was left alone."""
    from src.run.checkpoint import load_latest

    ours, theirs = (load_latest(folder / "checkpoints") for folder in (run, alone))
    found = [
        f"{name} differs" for name, value in theirs["state_dict"].items() if not value.equal(ours["state_dict"][name])
    ]
    mine, other = (read_json(folder / "result.json") or {} for folder in (run, alone))
    for name in ("steps", "best_step", "val/loss", "test/loss"):
        if mine.get(name) != other.get(name):
            found.append(f"{name} is {mine.get(name)} instead of {other.get(name)}")
    return found


def main(signals: int = 60, seed: int = 0) -> int:
    """Print what happened; 0 if nothing happened that must not."""
    with tempfile.TemporaryDirectory() as folder:
        tally = chain(Path(folder), [TARGETS[number % 4] for number in range(signals)], seed=seed)
    codes = ", ".join(f"{count} x {code}" for code, count in sorted(tally.codes.items()))
    print(f"{signals} signals in {tally.runs} runs of two ranks; exit codes {codes} (0: came after all work was done)")
    print(f"{sum('hung' in problem for problem in tally.problems)} hangs, {len(tally.problems)} problems")
    print("\n".join(tally.problems))
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main(**{name: int(value) for name, value in (argument.split("=") for argument in sys.argv[1:])}))
