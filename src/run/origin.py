"""The run that another one branched off, as it is typed and as the new run's folder records it."""

from pathlib import Path
from typing import Any, NamedTuple

from src.run.files import read_json

FILE = "origin.json"
LAST, BEST = "last", "best"


class Origin(NamedTuple):
    """What `branch_from` names: a run by its folder or name, and its `last` or `best` checkpoint, or that of a step."""

    run: str
    at: str

    @classmethod
    def parse(cls, text: str) -> "Origin":
        """`<run>`, `<run>@best` or `<run>@1200`."""
        run, _, at = text.rpartition("@")
        return cls(run, at) if run and (at in (LAST, BEST) or at.isdecimal()) else cls(text, LAST)

    def __str__(self) -> str:
        return f"{self.run}@{self.at}"


def read_origin(folder: Path) -> dict[str, Any]:
    """The record of a run that has begun as a branch; empty for every other run."""
    return read_json(folder / FILE) or {}
