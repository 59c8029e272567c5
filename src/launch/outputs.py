"""Where a rank's words go: `logs/rank-<n>.log`; those of rank 0 to the terminal too."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase
from pathlib import Path
from typing import TextIO

from src.launch.rank import Rank
from src.run.status import now


class Both(TextIOBase):
    """A text stream that writes to two; no terminal, so that no progress bar redraws itself in the file."""

    def __init__(self, *streams: TextIO) -> None:
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self.streams:
            stream.flush()


@contextmanager
def logged(logs: Path, rank: Rank) -> Iterator[tuple[TextIO, TextIO]]:
    """Send what the block prints to the rank's file, behind what earlier attempts wrote.

    Yields the file and the terminal's standard error. Ranks above 0 have their descriptors redirected, so that C++
    and child processes write there as well; rank 0 keeps the terminal, and what C++ says there is not in the file.
    """
    with (
        open(logs / f"rank-{rank.rank}.log", "a", buffering=1, encoding="utf-8", errors="replace") as file,
        open(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace") as terminal,
    ):
        file.write(
            f"== {now()} rank {rank.rank} of {rank.world_size}, process {os.getpid()} on {socket.gethostname()}\n"
        )
        if rank.first:
            with redirect_stdout(Both(sys.stdout, file)), redirect_stderr(Both(sys.stderr, file)):
                yield file, terminal
        else:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            with redirect_stdout(file), redirect_stderr(file):
                yield file, terminal
