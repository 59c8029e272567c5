"""metrics.csv: a row per log, whole after a kill at any time, and continued by a resumed run."""

import csv
import io
import os
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from src.run.files import write_text

NAME = "metrics.csv"


class MetricsFile(Logger):
    """Appends every row at once; only a new column writes the file anew, and then as a whole.

    Lightning's CSVLogger deletes the file that it finds, and loses all rows when it is killed while a column is added.
    """

    def __init__(self, *, folder: str) -> None:
        super().__init__()
        self.path = Path(folder) / NAME
        self.columns: list[str] | None = None  # None: the file was not looked at yet

    @property
    def name(self) -> str:
        """None of its own: the folder names the run."""
        return ""

    @property
    def version(self) -> str:
        """None either."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder, in which Lightning puts what other parts write."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml of the run folder says it all."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one row; `step` counts optimizer steps."""
        row = {**metrics, "step": "" if step is None else step}
        if self.columns is None:
            self.columns = list(_read(self.path)[0])
        if new := row.keys() - set(self.columns):
            self.columns = sorted({*self.columns, *new})
            _write(self.path, self.columns, _read(self.path)[1])
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(_line(self.columns, row))

    @rank_zero_only
    def cut(self, *, step: int) -> None:
        """Forget the rows from `step` on, and the test's: a run that continues there writes them again."""
        columns, rows = _read(self.path)
        tests = [name for name in columns if name.startswith("test/")]
        rows = [row for row in rows if row["step"].isdigit() and not any(row[name] for name in tests)]
        kept = [row for row in rows if int(row["step"]) < step]
        self.columns = columns
        if self.path.exists():
            _write(self.path, columns, kept)

    @rank_zero_only
    def sync(self) -> None:
        """Make the rows so far survive a power cut."""
        if self.path.exists():
            with open(self.path, "rb") as file:
                os.fsync(file.fileno())


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows; a last line that a power cut left unfinished is no row."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return [], []
    reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    rows = list(reader)
    return list(reader.fieldnames or []), rows


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(
        path, _line(columns, dict(zip(columns, columns, strict=True))) + "".join(_line(columns, r) for r in rows)
    )


def _line(columns: list[str], row: dict[str, Any]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, fieldnames=columns, lineterminator="\n").writerow(row)
    return text.getvalue()
