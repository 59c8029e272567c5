"""The record of a sweep: sweep.json, written once, and jobs.jsonl, one line per start and end of a job."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.run.files import read_json, write_json
from src.run.status import RUNNING, now

SWEEP, JOBS = "sweep.json", "jobs.jsonl"
STARTED, ENDED = "started", "ended"


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """One job as its last line tells it; `state` is running where no end was written.

    overrides: what this job alone has, in the order of the axes; trial: its number in the search, None in a grid;
    values: of the objectives, in their order.
    """

    number: int
    overrides: tuple[str, ...]
    trial: int | None
    state: str
    exit_code: int | None
    reason: str | None
    values: tuple[float, ...] | None
    started: str
    ended: str | None


def write_sweep(sweep: Path, facts: dict[str, Any]) -> None:
    """Write sweep.json, once: it is what makes a folder a sweep."""
    assert not (sweep / SWEEP).exists()
    write_json(sweep / SWEEP, facts)


def read_sweep(sweep: Path) -> dict[str, Any]:
    """What sweep.json says; raises UserError where there is none that can be read."""
    facts = read_json(sweep / SWEEP)
    if facts is None:
        raise UserError(f"The folder {sweep} is no sweep: it has no {SWEEP} that can be read. Name another one.")
    return facts


def append(sweep: Path, *, job: int, event: str, **fields: Any) -> None:
    """Add a line that survives the end of this process and of the machine."""
    line = json.dumps({"job": job, "event": event, **fields, "time": now()}, allow_nan=False) + "\n"
    with open(sweep / JOBS, "a+b") as file:
        if file.tell() and not _ends_a_line(file.fileno()):
            line = "\n" + line  # a killed driver left half of one
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def _ends_a_line(descriptor: int) -> bool:
    return os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1) == b"\n"


def read_jobs(sweep: Path) -> dict[int, JobRecord]:
    """The jobs that were started so far, by number; lines that were cut short are left out."""
    records: dict[int, JobRecord] = {}
    try:
        text = (sweep / JOBS).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return records
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or "job" not in entry:
            continue
        number = entry["job"]
        if entry["event"] == STARTED:
            records[number] = _started(entry)
        elif number in records:
            records[number] = _ended(records[number], entry)
    return dict(sorted(records.items()))


def _started(entry: dict[str, Any]) -> JobRecord:
    return JobRecord(
        number=entry["job"],
        overrides=tuple(entry["overrides"]),
        trial=entry["trial"],
        state=RUNNING,
        exit_code=None,
        reason=None,
        values=None,
        started=entry["time"],
        ended=None,
    )


def _ended(record: JobRecord, entry: dict[str, Any]) -> JobRecord:
    return replace(
        record,
        state=entry["state"],
        exit_code=entry["exit_code"],
        reason=entry["reason"],
        values=None if entry["values"] is None else tuple(entry["values"]),
        ended=entry["time"],
    )
