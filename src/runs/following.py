"""`tail RUN`: what a run writes into metrics.csv, as it comes, until the run ends."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from src.run.index import RunRecord, find_run, read_run
from src.run.metrics import Row, read_rows
from src.run.status import PREPARED, RUNNING, SUBMITTED
from src.runs.output import number
from src.runs.values import describe
from src.runs.words import count, folder, read_words

OPTIONS = {"every": count, "lines": count, "root": folder}
EVERY, LINES = 50, 10
LOOK = 0.5  # seconds between two looks at the files
# What a line of training holds; one of a validation or test holds all that was measured.
_SHOWN = ("train/loss", "train/sampled_loss", "train/gradient_norm", "train/learning_rate", "throughput/")


def tail(typed: Sequence[str]) -> None:
    """Print the last lines, then each new one; a line per validation and one of training per `every` steps."""
    words = read_words(typed, options=OPTIONS, names=["RUN"])
    record = find_run(words.names[0], root=words.options.get("root", Path("outputs")))
    print(f"{record.path}  {record.state}", flush=True)
    lines = Lines(every=words.options.get("every", EVERY))
    for line in lines.new(record)[-words.options.get("lines", LINES) :]:
        print(line, flush=True)
    while record.state in (RUNNING, SUBMITTED, PREPARED):
        time.sleep(LOOK)
        # The state first: what a run wrote before its end is then in the file.
        record = read_run(record.path)
        for line in lines.new(record):
            print(line, flush=True)
    about = describe(record)
    code = record.status.get("exit_code")
    print(record.state + (f": {about}" if about else "") + ("" if code is None else f", exit code {code}"))


class Lines:
    """What there is to print of metrics.csv since the last look; a run that resumes takes rows back."""

    def __init__(self, *, every: int) -> None:
        self.every = every
        self.seen = 0
        self.printed = -1.0  # the step of the last line of training
        self.version: tuple[int, int, int] | None = None

    def new(self, record: RunRecord) -> list[str]:
        """The lines of the rows that are new."""
        path = record.path / "metrics.csv"
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return []
        version = (status.st_mtime_ns, status.st_size, status.st_ino)
        if version == self.version:
            return []
        self.version = version
        rows, lines = read_rows(path), []
        if len(rows) < self.seen:
            self.seen, self.printed = len(rows), rows[-1].get("step", -1.0) if rows else -1.0
            lines.append(f"goes on after step {self.printed:.0f}")
        lines += [line for row in rows[self.seen :] if (line := self.line(row))]
        self.seen = len(rows)
        return lines

    def line(self, row: Row) -> str:
        """Empty for a row of training that is not due, or that says nothing."""
        measured = {name: value for name, value in row.items() if name.startswith(("val/", "test/"))}
        if not measured:
            step = row.get("step", -1.0)
            measured = {name: value for name, value in row.items() if name.startswith(_SHOWN)}
            if not measured or step < self.printed + self.every:
                return ""
            self.printed = step
        # A test has no epoch, and step 0.
        place = [f"epoch {row['epoch'] + 1:>3.0f}  step {row.get('step', 0):>7.0f}"] if "epoch" in row else []
        return "  ".join([*place, *(f"{name} {number(value)}" for name, value in measured.items())])
