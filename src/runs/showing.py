"""`show RUN`: all of one run on one screen."""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

from src.errors import UserError
from src.run.contents import examine
from src.run.files import read_json
from src.run.index import RunRecord, find_run
from src.run.ledger import read_ledger
from src.run.manifest import committed, find_best
from src.run.status import FINISHED
from src.runs.output import cell, number
from src.runs.score import commands
from src.runs.values import describe
from src.runs.values import show as shown
from src.runs.words import folder, read_words

_INDENT = 13
_GROUPS = ("task", "data", "model", "optimizer", "schedule", "trainer")
_WHOLE = ("run", "command", "report", "evaluate", "predict", "generate", "resume")
_UNITS = ("B", "kB", "MB", "GB", "TB")


def show(typed: Sequence[str]) -> None:
    """Print one run."""
    words = read_words(typed, options={"root": folder}, names=["RUN"])
    record = find_run(words.names[0], root=words.options.get("root", Path("outputs")))
    width = max(60, get_terminal_size((120, 0)).columns)
    for name, text in lines(record):
        filled = textwrap.wrap(text, width - _INDENT, break_long_words=False, break_on_hyphens=False)
        # What is copied into a shell stays one line.
        print(f"{name:<{_INDENT}}" + (text if name in _WHOLE else f"\n{' ' * _INDENT}".join(filled)))


def lines(record: RunRecord) -> Iterator[tuple[str, str]]:
    """What there is to say, as pairs of a word and a text."""
    yield "run", str(record.path)
    about = describe(record)
    yield "state", record.state + (f": {about}" if about else "")
    yield from _times(record)
    command = _text(record, "command.txt").strip()
    if command:
        yield "command", command
    yield from _config(record)
    yield from _results(record)
    yield from _checkpoints(record)
    looks = read_ledger(record.path)
    if looks:
        yield "test split", f"met {len(looks)} time(s), last {looks[-1].get('time', 'at an unknown time')}"
    yield from _environment(read_json(record.path / "env.json") or {})
    found = examine(record.path)
    largest = sorted(found.sizes.items(), key=lambda item: -item[1])
    yield "size", f"{size(found.bytes)}: " + ", ".join(f"{name} {size(count)}" for name, count in largest[:6])
    if found.foreign:
        yield "foreign", ", ".join(found.foreign)
    if (record.path / "report.html").is_file():
        yield "report", str(record.path / "report.html")
    if record.state == FINISHED:
        yield from commands(record).items()


def size(count: float) -> str:
    """Bytes in the unit that fits: `1.2 MB`, of 1000 each as `du --si` counts."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


def _text(record: RunRecord, name: str) -> str:
    try:
        return (record.path / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _times(record: RunRecord) -> Iterator[tuple[str, str]]:
    status = record.status
    parts = [f"started {cell('started', record.started)} UTC"] if record.started else []
    ended = status.get("ended")
    if ended:
        parts.append(f"ended {cell('ended', ended)}")
    if ended and record.started:
        parts.append(f"took {datetime.fromisoformat(ended) - datetime.fromisoformat(record.started)}")
    for name in ("attempt", "exit_code", "host", "pid"):
        if name in status:
            parts.append(f"{name.replace('_', ' ')} {status[name]}")
    if parts:
        yield "when", ", ".join(parts)


def _config(record: RunRecord) -> Iterator[tuple[str, str]]:
    try:
        config = record.config
    except UserError as error:
        yield "config", str(error)
        return
    if config:
        names = [name for name, value in config.items() if not isinstance(value, dict)]
        yield "config", " ".join(f"{name}={shown(config[name])}" for name in names)
    for group in _GROUPS:
        if isinstance(config.get(group), dict):
            yield group, _settings(config[group])


def _settings(values: dict[str, Any]) -> str:
    """The class, and every value that is set; null, false and 0 say that something is off."""
    parts = [str(values.get("_target_", "")).rpartition(".")[2]]
    for name, value in values.items():
        if isinstance(value, dict):
            parts.append(f"{name}={str(value.get('_target_', '...')).rpartition('.')[2]}")
        elif value not in (None, False) and not name.startswith("_"):
            parts.append(f"{name}={shown(value)}")
    return " ".join(filter(None, parts))


def _results(record: RunRecord) -> Iterator[tuple[str, str]]:
    """One line per split and kind of measuring, as `val`, `val_at_threshold`, `throughput`."""
    lines: dict[str, list[str]] = {}
    for name, value in record.metrics.items():
        head, slash, tail = name.partition("/")
        if value is not None and name not in ("run", "notes", "init_from_sha256"):
            text = number(value) if isinstance(value, float) else shown(value)
            lines.setdefault(head if slash else "result", []).append(f"{tail or head} {text}")
    for head, parts in sorted(lines.items(), key=lambda item: (not item[0].startswith(("val", "test")), item[0])):
        yield head.replace("_at_threshold", " at thr."), "  ".join(parts)
    if record.result.get("notes"):
        yield "notes", str(record.result["notes"])


def _checkpoints(record: RunRecord) -> Iterator[tuple[str, str]]:
    folder = record.path / "checkpoints"
    try:
        manifests, best = committed(folder), find_best(folder)
    except UserError as error:
        yield "checkpoints", str(error)
        return
    parts = []
    for manifest in manifests:
        score = "" if manifest.score is None else f" {manifest.monitor} {number(manifest.score)}"
        mark = " (best)" if manifest == best else ""
        parts.append(f"step {manifest.step} of epoch {manifest.epoch + 1}{score}{mark}")
    if parts:
        yield "checkpoints", "; ".join(parts)


def _environment(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    git, versions, data = (facts.get(name) or {} for name in ("git", "versions", "data"))
    if git.get("commit"):
        yield "commit", f"{git['commit'][:12]}, {'clean' if git.get('clean') else 'with changes, see env.json'}"
    names = ("python", "torch", "lightning")
    known = [f"{name} {versions[name]}" for name in names if versions.get(name)]
    gpus = ((facts.get("hardware") or {}).get("gpus")) or []
    if known:
        yield "versions", ", ".join([*known, f"{len(gpus)} GPU(s)" if gpus else "CPU"])
    if data.get("content"):
        sizes = " ".join(f"{split}={count}" for split, count in (data.get("sizes") or {}).items())
        yield "data read", f"{data.get('source')}, content {data['content'][:12]} {sizes}"
