"""The runs below a folder, read from their small files alone: no server, no database, nothing to go stale."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from src.errors import UserError
from src.run.files import read_json
from src.run.process import is_gone
from src.run.status import KILLED, RUNNING

UNREADABLE = "unreadable"  # a state: status.json is empty or damaged
_DEPTH = 3  # outputs/sweeps/<sweep>/<n>
_SHOWN = 5  # names in an error message


@dataclass(frozen=True)
class RunRecord:
    """One run: its folder and what its small files say. `config` is parsed only when asked for."""

    path: Path
    status: dict[str, Any]
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name

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
    def config(self) -> dict[str, Any]:
        """The resolved configuration; empty if there is none. Raises UserError if it is no YAML."""
        return read_config(self.path)


def read_config(folder: Path) -> dict[str, Any]:
    """The config.yaml of a run; empty if there is none. Raises UserError if it is no YAML mapping."""
    path = folder / "config.yaml"
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"The configuration {path} cannot be read. Restore it, or leave this run out.") from error
    if not isinstance(value, dict):
        raise UserError(f"The configuration {path} must be a mapping. Restore it, or leave this run out.")
    return value


def read_run(folder: Path) -> RunRecord:
    """The record of one run folder."""
    return RunRecord(folder, read_json(folder / "status.json") or {}, read_json(folder / "result.json") or {})


def read_runs(root: Path) -> list[RunRecord]:
    """All runs at or below `root`, oldest first; empty if there is no such folder."""
    return sorted(map(read_run, _folders(root, _DEPTH)), key=lambda record: (record.started, record.name))


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "status.json").is_file():
        yield folder  # a run holds no runs, so its own folders (checkpoints, logs) are not searched
    elif depth and folder.is_dir():
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.is_symlink() and not child.name.startswith("."):
                yield from _folders(child, depth - 1)


def find_run(name_or_path: str | Path, *, root: Path = Path("outputs")) -> RunRecord:
    """The run of a folder, of a name below `root`, or of the only name that ends with it (its id).

    Raises UserError that lists the nearest and the newest names.
    """
    path = Path(name_or_path)
    if (path / "status.json").is_file():
        return read_run(path)
    runs = read_runs(root)
    name = str(name_or_path)
    exact = [run for run in runs if run.name == name or run.path == root / name]
    ending = [run for run in runs if name and run.name.endswith(name)]
    found = exact or ending
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(run.path) for run in found[:_SHOWN])
        raise UserError(f"run ({name}) fits {len(found)} runs: {names}. Give the path of one.")
    near = difflib.get_close_matches(name, [run.name for run in runs], n=_SHOWN, cutoff=0.6)
    newest = [run.name for run in reversed(runs)][:_SHOWN]
    if not newest:
        raise UserError(f"run ({name}) is no run folder, and there is none below {root}. Train one first.")
    nearest = f" Nearest: {', '.join(near)}." if near else ""
    raise UserError(f"run ({name}) is no run folder and no name below {root}.{nearest} Newest: {', '.join(newest)}.")
