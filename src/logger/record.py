"""wandb/record.jsonl: what a run has to tell W&B, a line per event, whole after a kill at any time."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from src.run.files import write_text
from src.run.secrets import redact

FOLDER = "wandb"
RECORD = "record.jsonl"
SENT = "sent.json"
# Kinds of events, in the order in which a run writes them.
RUN, HISTORY, SUMMARY, TABLE, ARTIFACT, END = "run", "history", "summary", "table", "artifact", "end"

Event = dict[str, Any]


class Record:
    """Appends events of one run, secrets of the environment redacted; a resumed run goes on where `cut` left it."""

    def __init__(self, run: Path) -> None:
        self.path = run / FOLDER / RECORD
        self.opened = False

    def append(self, event: str, **values: Any) -> None:
        """Raises OSError when it cannot be written."""
        if not self.opened:
            self.path.parent.mkdir(exist_ok=True)
            _end_last_line(self.path)
            self.opened = True
        line = json.dumps(redact(plain({"event": event, **values})), allow_nan=False) + "\n"
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line)

    def cut(self, *, step: int) -> None:
        """Forget the history from `step` on, and all that the end of a run tells: it will be told again."""
        if self.path.exists():
            kept = [
                event
                for event in read_record(self.path)
                if event["event"] == RUN or (event["event"] == HISTORY and event["step"] < step and not _tests(event))
            ]
            write_text(self.path, "".join(json.dumps(event) + "\n" for event in kept))


def _tests(event: Event) -> bool:
    return any(name.startswith("test/") for name in event["values"])


def _end_last_line(path: Path) -> None:
    """What a full disk or a power cut left of a line must not swallow the next one."""
    try:
        with open(path, "rb+") as file:
            text = file.read()
            file.truncate(text.rfind(b"\n") + 1)
    except FileNotFoundError:
        pass


def plain(value: Any) -> Any:
    """JSON's types, numbers that are none as the words float() reads: JSON has no NaN."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    number = float(value)
    return number if math.isfinite(number) else str(number)


def flatten(config: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Dotted keys to values; lists and empty mappings stay as they are."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value
    return flat


def parse(lines: bytes) -> Iterator[Event]:
    """The events of whole lines; one that cannot be read is left out."""
    for line in lines[: lines.rfind(b"\n") + 1].splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event


def read_record(path: Path) -> list[Event]:
    """The events of a record, oldest first; none if there is no file."""
    try:
        return list(parse(path.read_bytes()))
    except FileNotFoundError:
        return []


def size_of(path: Path) -> int:
    """Bytes of a record; 0 if there is none."""
    return os.stat(path).st_size if path.exists() else 0
