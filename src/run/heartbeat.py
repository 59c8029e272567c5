"""One small file per rank, `logs/rank-<n>.json`: that it lives, how far it is, and how it ended."""

import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from src.run.files import read_json


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a rank ended: exit code, a sentence (a traceback for a bug), the signal's name if one was obeyed.

    `lost` marks an end that another rank's end has caused: a collective whose other side went away.
    """

    at: float
    exit_code: int
    sentence: str = ""
    traceback: str = ""
    signal: str | None = None
    lost: bool = False


@dataclass(frozen=True, kw_only=True)
class Beat:
    """A rank's last sign of life; times are seconds of the wall clock.

    `marks` counts the places that the rank has passed, the same ones on every rank: of two ranks the one with fewer is
    the one that the other waits for. `line` is where its main thread stood.
    """

    rank: int
    pid: int
    at: float
    marks: int = 0
    moved: float = 0.0
    place: str = "start"
    line: str = ""
    outcome: Outcome | None = None


class Heartbeat:
    """Beats from a thread of its own while the block runs, so that a busy rank differs from a stopped one.

    `mark` is called at every step and costs two assignments; files are written by the thread only.
    """

    def __init__(self, path: Path, *, rank: int, interval: float = 1.0) -> None:
        self.path, self.interval = path, interval
        now = time.time()
        self.beat = Beat(rank=rank, pid=os.getpid(), at=now, moved=now)
        self.marks, self.place, self.moved = 0, "start", now
        self._main = threading.get_ident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def mark(self, place: str) -> None:
        """The rank has come to `place`."""
        self.marks += 1
        self.place, self.moved = place, time.time()

    def end(self, outcome: Outcome) -> None:
        """Write down how the rank ended; it beats no more."""
        self._stop.set()
        self._thread.join()
        self.beat = replace(self.beat, outcome=outcome)
        self._write()

    def _run(self) -> None:
        while not self._stop.wait(self.interval):
            self._write()

    def _write(self) -> None:
        frame = sys._current_frames().get(self._main)
        line = "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        self.beat = replace(self.beat, at=time.time(), marks=self.marks, moved=self.moved, place=self.place, line=line)
        write_beat(self.path, self.beat)


def write_beat(path: Path, beat: Beat) -> None:
    """Replace the file. Not synced: it is about this minute; and a full disk must not end a rank that trains."""
    temporary = path.with_name(f".{path.name}.{threading.get_ident()}.tmp")
    try:
        temporary.write_text(json.dumps(asdict(beat)))
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)


def read_beats(logs: Path) -> dict[int, Beat]:
    """What the ranks of a run wrote last, by rank; a file that cannot be read counts as none."""
    beats = {}
    for path in logs.glob("rank-*.json"):
        fields = read_json(path)
        if fields is not None:
            outcome = fields.pop("outcome")
            beat = Beat(**fields, outcome=None if outcome is None else Outcome(**outcome))
            beats[beat.rank] = beat
    return beats


def find_hung(beats: dict[int, Beat], *, now: float, timeout: float) -> Beat | None:
    """The rank that the others wait for in vain, None while all is well.

    A stopped process gives no sign of life at all. One that sleeps does, but has passed fewer marks than another rank
    and has not moved for `timeout` seconds; ranks that are all slow in the same place (compiling) are left alone.
    """
    running = [beat for beat in beats.values() if beat.outcome is None]
    silent = [beat for beat in running if now - beat.at > timeout]
    furthest = max((beat.marks for beat in beats.values()), default=0)
    behind = [beat for beat in running if beat.marks < furthest and now - beat.moved > timeout]
    return min(silent or behind, key=lambda beat: beat.marks, default=None)
