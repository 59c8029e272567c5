"""The runs below a folder, read from their small files alone: no server, no database, nothing to go stale."""

import difflib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from src.errors import UserError
from src.run.files import read_json
from src.run.metrics import last_values
from src.run.process import is_gone
from src.run.status import KILLED, RUNNING
from src.run.waiting import in_threads
from src.run.yaml_scan import find_value, parse

UNREADABLE = "unreadable"  # a state: status.json is empty or damaged
_DEPTH = 3  # outputs/sweeps/<sweep>/<n>
_SHOWN = 5  # names in an error message
_NAME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_(?P<model>.+)_[0-9a-f]{8}")  # src.run.folder.run_name
_TYPED_MODEL = re.compile(r"(?:^|\s)'?model=(\w+)")


@dataclass(frozen=True)
class RunRecord:
    """One run: its folder and what its small files say. What is in its config.yaml is read only when asked for."""

    path: Path
    status: dict[str, Any]
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name

    @cached_property
    def sweep(self) -> Path | None:
        """The folder of the sweep that the run is a job of; None of a run of its own."""
        parent = self.path.parent
        return parent if self.name.isdigit() and (parent / "sweep.json").is_file() else None

    @cached_property
    def label(self) -> str:
        """The name by which the run is found below its root: that of its folder, or `<sweep>/<n>`."""
        return self.name if self.sweep is None else f"{self.sweep.name}/{self.name}"

    @cached_property
    def state(self) -> str:
        """A state of src.run.status; killed also where its process is gone, unreadable where nothing can be read."""
        state = self.status.get("state")
        if state == RUNNING and is_gone(self.status):
            return KILLED
        return state if isinstance(state, str) else UNREADABLE

    @property
    def started(self) -> str:
        """When the first attempt started (ISO 8601, UTC); empty if nobody wrote it."""
        return str(self.status.get("first_started") or self.status.get("started") or "")

    @cached_property
    def model(self) -> str:
        """The choice of the group `model`: of the folder's name, or typed; else the module that the network is from."""
        match = _NAME.fullmatch(self.name) or _TYPED_MODEL.search(self._text("command.txt"))
        if match:
            return match[1]
        try:
            return str(self.config_value("model._target_")).split(".")[-2]
        except (KeyError, IndexError, UserError):
            return ""

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What result.json holds; of a run that has none, the last value of each column of metrics.csv."""
        return self.result or dict(last_values(self.path / "metrics.csv"))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration; empty if there is none. Raises UserError if it is no YAML."""
        return read_config(self.path)

    @property
    def config_text(self) -> str:
        """The file config.yaml; empty if there is none. Kept, but not by cached_property, whose lock all runs share."""
        kept = vars(self)
        if "_config_text" not in kept:
            kept["_config_text"] = self._text("config.yaml")
        return kept["_config_text"]

    def config_value(self, key: str) -> Any:
        """The value under a dotted key of the configuration.

        Raises:
            KeyError: there is no such key.
            UserError: the file is no YAML.
        """
        try:
            return find_value(self.config_text, key)
        except yaml.YAMLError as error:
            raise unreadable(self.path / "config.yaml") from error

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def read_config(folder: Path) -> dict[str, Any]:
    """The config.yaml of a run; empty if there is none. Raises UserError if it is no YAML mapping."""
    path = folder / "config.yaml"
    try:
        value = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise unreadable(path) from error
    if not isinstance(value, dict):
        raise UserError(f"The configuration {path} must be a mapping. Restore it, or leave this run out.")
    return value


def unreadable(path: Path) -> UserError:
    """What to raise for a configuration that is no YAML."""
    return UserError(f"The configuration {path} cannot be read. Restore it, or leave this run out.")


def read_run(folder: Path) -> RunRecord:
    """The record of one run folder."""
    return RunRecord(folder, read_json(folder / "status.json") or {}, read_json(folder / "result.json") or {})


def read_runs(root: Path) -> list[RunRecord]:
    """All runs at or below `root`, oldest first; empty if there is no such folder."""
    records = in_threads(lambda folder: read_run(Path(folder)), list(_folders(str(root), _DEPTH)))
    return sorted(records, key=lambda record: (record.started, record.name))


def _folders(folder: str, depth: int) -> Iterator[str]:
    if os.path.isfile(f"{folder}/status.json"):
        yield folder  # a run holds no runs, so its own folders (checkpoints, logs) are not searched
    elif depth:
        for child in subfolders(folder):
            yield from _folders(child, depth - 1)


def subfolders(folder: str) -> list[str]:
    """The folders in a folder, sorted; links and hidden ones are none. What may not be read is said and left out."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        print(f"Note: {folder} cannot be read and is left out.", file=sys.stderr)
        return []
    return [os.path.join(folder, name) for name in sorted(names) if not name.startswith(".")]


def find_run(name_or_path: str | Path, *, root: Path = Path("outputs")) -> RunRecord:
    """The run of a folder, of a name below `root`, or of the only name that begins or ends with it (its id).

    Raises UserError that lists the nearest and the newest names.
    """
    path = Path(name_or_path)
    if (path / "status.json").is_file():
        return read_run(path)
    runs = read_runs(root)
    name = str(name_or_path)
    exact = [run for run in runs if name in (run.name, run.label) or run.path == root / name]
    partly = [run for run in runs if name and (run.label.endswith(name) or run.label.startswith(name))]
    found = exact or partly
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(run.path) for run in found[:_SHOWN])
        raise UserError(f"run ({name}) fits {len(found)} runs: {names}. Give the path of one.")
    near = difflib.get_close_matches(name, [run.label for run in runs], n=_SHOWN, cutoff=0.6)
    newest = [run.label for run in reversed(runs)][:_SHOWN]
    if not newest:
        raise UserError(f"run ({name}) is no run folder, and there is none below {root}. Train one first.")
    nearest = f" Nearest: {', '.join(near)}." if near else ""
    raise UserError(f"run ({name}) is no run folder and no name below {root}.{nearest} Newest: {', '.join(newest)}.")
