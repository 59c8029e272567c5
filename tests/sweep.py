"""SIGKILL to the driver of a search and to its job: `python -m tests.sweep [trials=12] [kills=2] [seed=0] [key=value]`.

The search is done twice, once left alone and once killed at random times and continued by `-m resume=<sweep>`. Then no
trial may be lost or repeated, in the study, in jobs.jsonl or in the folders, and all points and values must be those of
the search that was left alone. Other arguments are overrides: with data.path=../shared/data/imdb it searches on a slice
of the real reviews, otherwise on the demo corpus. folder=DIR keeps the two searches.
"""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums keep their order

from src.run.files import read_json
from src.run.status import RUNNING
from src.sweep.journal import ENDED, JOBS, STARTED, JobRecord, read_jobs, read_sweep
from src.sweep.storage import load_study

BOUND = 1800.0  # seconds; a driver that still runs then hangs
SMALL = ["trainer.accelerator=cpu", "precision=fp32", "model.width=16", "model.hidden=8,16", "trainer.max_epochs=2"]
DEMO = ["data=demo", "data.reader.num_reviews=200"]
SLICE = ["trainer.limit_train_batches=40", "trainer.limit_val_batches=4"]
STATES = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "killed": "FAIL"}


class Process(Protocol):
    """A driver."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...


Begin = Callable[..., Process]


@dataclass
class Tally:
    """What happened: who was killed and what it left, and all that must not happen."""

    kills: list[str] = field(default_factory=list)
    drivers: int = 0
    problems: list[str] = field(default_factory=list)


def spawned(*arguments: str, terminal: Path) -> subprocess.Popen[bytes]:
    """The command as a user types it."""
    with open(terminal, "ab") as file:
        return subprocess.Popen([sys.executable, "-m", "src.train", *arguments], stdout=file, stderr=file)


def left_alone(sweep: Path, words: list[str], begin: Begin) -> float:
    """Search without a kill; returns the seconds it took."""
    began = time.monotonic()
    code = begin("-m", *words, f"hydra.sweep.dir={sweep}", terminal=terminal_of(sweep)).wait(BOUND)
    assert code == 0, terminal_of(sweep).read_text()[-3000:]
    return time.monotonic() - began


def killed(
    sweep: Path, words: list[str], begin: Begin, *, kills: int, seconds: float, draw: random.Random, tally: Tally
) -> None:
    """The same search through so many kills. seconds: that the whole one takes; each driver dies in its share of it."""
    share, code = seconds / (kills + 1), -signal.SIGKILL
    while code != 0:
        again = ["-m", f"resume={sweep}"] if (sweep / "sweep.json").exists() else None
        process = begin(*(again or ["-m", *words, f"hydra.sweep.dir={sweep}"]), terminal=terminal_of(sweep))
        tally.drivers += 1
        if len(tally.kills) < kills:
            end = time.monotonic() + draw.uniform(0.2, 1) * share
            # Every second one at any time, that of its imports included; the others not before a job trains.
            training = len(tally.kills) % 2 == 0
            while process.poll() is None and (time.monotonic() < end or (training and not trains(sweep))):
                time.sleep(0.01)
            if process.poll() is None:
                jobs = kill_with_children(process.pid, draw)
                records = Counter(record.state for record in read_jobs(sweep).values())
                tally.kills.append(f"the driver and {jobs} below it; the jobs were {dict(records)}")
        code = process.wait(BOUND)
        assert code in (0, -signal.SIGKILL), f"exit code {code}: {terminal_of(sweep).read_text()[-3000:]}"


def trains(sweep: Path) -> bool:
    """True while a job has begun and not ended."""
    running = [number for number, record in read_jobs(sweep).items() if record.state == RUNNING]
    return any((read_json(sweep / str(number) / "status.json") or {}).get("state") == RUNNING for number in running)


def kill_with_children(pid: int, draw: random.Random) -> int:
    """SIGKILL to a process and all below it, in any order; returns how many those are, once all are gone."""
    below = descendants(pid)
    everyone = [pid, *below]
    draw.shuffle(everyone)
    for each in everyone:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    end = time.monotonic() + 20
    while any(map(lives, below)):
        assert time.monotonic() < end, f"{below} live on"
        time.sleep(0.01)
    return len(below)


def descendants(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [each for child in map(int, text.split()) for each in (child, *descendants(child))]


def lives(pid: int) -> bool:
    """False also for one that has ended and that nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def check(alone: Path, sweep: Path, *, trials: int) -> list[str]:
    """All that differs from the search that was left alone, and between the records of the one that was killed."""
    mine, others = read_jobs(sweep), read_jobs(alone)
    place = read_sweep(sweep)["study"]
    study = load_study(sweep, storage=place["storage"], name=place["name"]).trials
    folders = sorted(int(path.name) for path in sweep.iterdir() if path.name.isdecimal())
    expected = list(range(trials))
    problems = [
        f"{what}: {found}"
        for what, found in (("jobs", list(mine)), ("trials", [t.number for t in study]), ("folders", folders))
        if found != expected
    ]
    repeated = [point for point, times in Counter(record.overrides for record in mine.values()).items() if times > 1]
    problems += [f"repeated: {point}" for point in repeated]
    lines = [json.loads(line) for line in (sweep / JOBS).read_text().splitlines()]
    ends = Counter(line["job"] for line in lines if line["event"] == ENDED)
    problems += [f"job {number} ended {times} times" for number, times in ends.items() if times > 1]
    for number, record in mine.items():
        problems += [f"job {number}: {words}" for words in check_job(record, others[number], sweep)]
        trial = study[number]
        if trial.state.name != STATES[record.state] or (record.values and tuple(trial.values) != record.values):
            problems.append(
                f"trial {number}: {trial.state.name} {trial.values}, the job {record.state} {record.values}"
            )
    return problems + check_summary(sweep, mine)


def check_job(mine: JobRecord, other: JobRecord, sweep: Path) -> list[str]:
    """One job against that of the other search, and against its own folder."""
    problems = []
    for name in ("overrides", "trial", "state", "values", "reason", "exit_code"):
        if getattr(mine, name) != getattr(other, name):
            problems.append(f"{name} {getattr(mine, name)}, left alone {getattr(other, name)}")
    status = read_json(sweep / str(mine.number) / "status.json") or {}
    result = read_json(sweep / str(mine.number) / "result.json") or {}
    if status.get("state") != mine.state:
        problems.append(f"status.json says {status.get('state')}, jobs.jsonl {mine.state}")
    names = list(read_sweep(sweep)["objectives"])
    if mine.values is not None and tuple(result.get(name) for name in names) != mine.values:
        problems.append(f"result.json has {result}, jobs.jsonl {mine.values}")
    return problems


def check_summary(sweep: Path, jobs: dict[int, JobRecord]) -> list[str]:
    """summary.csv has one row per job with what the others say."""
    if not (sweep / "summary.csv").exists():
        return ["there is no summary.csv"]
    with open(sweep / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    if [row["job"] for row in rows] != [str(number) for number in jobs]:
        return [f"summary.csv has the jobs {[row['job'] for row in rows]}"]
    problems = []
    for row, job in zip(rows, jobs.values(), strict=True):
        axes = [f"{key}={row[key]}" for key in (word.partition("=")[0] for word in job.overrides)]
        values = tuple(float(row[name]) for name in read_sweep(sweep)["objectives"]) if job.values else None
        if (row["state"], tuple(axes), values) != (job.state, job.overrides, job.values):
            problems.append(f"summary.csv: {row}, jobs.jsonl {job}")
    return problems


def report(alone: Path, sweep: Path, tally: Tally, *, seconds: float) -> None:
    """Print both searches side by side, and what was found."""
    mine, others = read_jobs(sweep), read_jobs(alone)
    starts = Counter(json.loads(line)["job"] for line in (sweep / JOBS).read_text().splitlines() if STARTED in line)
    print(f"{'trial':<6}{'starts':<8}{'state':<10}{'value':<12}{'left alone':<12}overrides")
    for number, job in mine.items():
        value, other = (", ".join(f"{v:.6f}" for v in j.values or ()) or "-" for j in (job, others[number]))
        print(f"{number:<6}{starts[number]:<8}{job.state:<10}{value:<12}{other:<12}{' '.join(job.overrides)}")
    print("".join(f"killed: {words}\n" for words in tally.kills), end="")
    print(f"{tally.drivers} drivers, {len(mine)} jobs, {len(tally.problems)} problems, {seconds:.0f} s")
    print("".join(f"  {words}\n" for words in tally.problems[:20]), end="", flush=True)


def terminal_of(sweep: Path) -> Path:
    return sweep.with_name(f"{sweep.name}-terminal.txt")


def search(folder: Path, *overrides: str, begin: Begin, trials: int, kills: int, seed: int) -> Tally:
    """Both searches, compared and printed."""
    began, tally = time.monotonic(), Tally()
    data = SLICE if any(word.startswith("data.path=") for word in overrides) else DEMO
    words = ["hparams_search=bilstm_tpe", *data, *SMALL, f"hydra.sweeper.n_trials={trials}", *overrides]
    words.append(f"paths.output_dir={folder}")
    alone, sweep = folder / "alone", folder / "killed"
    seconds = left_alone(alone, words, begin)
    killed(sweep, words, begin, kills=kills, seconds=seconds, draw=random.Random(seed), tally=tally)
    tally.problems += check(alone, sweep, trials=trials)
    report(alone, sweep, tally, seconds=time.monotonic() - began)
    return tally


def main(*overrides: str, folder: str, **numbers: int) -> int:
    """0 if nothing happened that must not."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(folder or temporary).absolute()
        place.mkdir(parents=True, exist_ok=True)
        return 1 if search(place, *overrides, begin=spawned, **numbers).problems else 0


if __name__ == "__main__":
    typed = dict(argument.split("=", 1) for argument in sys.argv[1:])
    counts = {name: int(typed.pop(name, default)) for name, default in (("trials", 12), ("kills", 2), ("seed", 0))}
    place = typed.pop("folder", "")
    sys.exit(main(*(f"{name}={value}" for name, value in typed.items()), folder=place, **counts))
