"""summary.csv: a sweep as one table, one row per job, for spreadsheets and data frames."""

import csv
import io
from pathlib import Path
from typing import Any

from src.run.files import write_text
from src.sweep.read import SEED, JobRow, read

NAME = "summary.csv"
_SPLITS = ("val/", "test/")


def write_summary(sweep: Path) -> Path:
    """Write it into the sweep folder and return its path; raises UserError if that is no sweep."""
    found = read(sweep)
    keys = [key for key in found.keys if key != SEED]
    numbers = sorted(
        {name for job in found.jobs for name, value in job.result.items() if _is_number(value)} - {SEED, *keys}
    )
    numbers.sort(key=lambda name: next((i for i, split in enumerate(_SPLITS) if name.startswith(split)), len(_SPLITS)))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["job", "state", "reason", "trial", *keys, SEED, *numbers, "folder"])
    table.writerows(_cells(job, keys, numbers) for job in found.jobs)
    write_text(sweep / NAME, text.getvalue())
    return sweep / NAME


def _cells(job: JobRow, keys: list[str], numbers: list[str]) -> list[Any]:
    reason = " ".join(job.reason.split())  # a line break inside a cell is more than some readers take
    results = (job.result.get(name) for name in numbers)
    cells = [value if _is_number(value) else None for value in results]
    return [job.number, job.state, reason, job.trial, *map(job.params.get, keys), job.seed, *cells, job.folder.name]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
