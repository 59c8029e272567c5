"""The doors, forked from a process that has imported torch: a tenth of the time that starting Python takes."""

import os
import runpy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.forked import Forked


class Answer(NamedTuple):
    """How a door ended and what it printed, errors included."""

    code: int
    said: str


def ask(name: str, *arguments: str, first: Callable[[], object] = lambda: None, **variables: str) -> Answer:
    """`python -m src.<name> <arguments>` with these variables of the environment; `first` is called in its process."""
    with tempfile.NamedTemporaryFile(dir="/tmp", suffix=".txt") as terminal:

        def work() -> int:
            os.dup2(terminal.fileno(), 1)
            os.dup2(terminal.fileno(), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
            sys.argv = [f"src.{name}", *arguments]
            first()
            try:
                runpy.run_module(f"src.{name}", run_name="__main__", alter_sys=True)
            except SystemExit as end:
                return end.code if isinstance(end.code, int) else 1
            except BaseException:
                # As Python ends a process.
                sys.excepthook(*sys.exc_info())
                return 1
            return 0

        code = Forked(work, {**os.environ, **variables}).wait(120)
        return Answer(code, Path(terminal.name).read_text())
