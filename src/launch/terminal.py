"""Standard output whose reader may leave before we do, as `| head` does."""

import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TextIO


class Deserted(FileIO):
    """Writes to a descriptor; once nobody reads there, to the null device, as do C++ and child processes then.

    ends: the process ends in order at that moment, as what it prints is all it does.
    """

    def __init__(self, stream: TextIO, *, ends: bool) -> None:
        super().__init__(stream.fileno(), "w", closefd=False)
        self.stream = stream  # which would close the descriptor if nobody held it
        self.ends = ends

    def write(self, data) -> int:  # type: ignore[no-untyped-def]  # the buffer type has a name only since Python 3.12
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if self.ends:
                raise SystemExit(0) from None
            return len(data)


def outlive_readers(*, ends: bool) -> None:
    """Let whoever reads standard output or standard error close it; `ends`: with the first of them the work is over."""
    sys.stdout, sys.stderr = _lasting(sys.stdout, ends=ends), _lasting(sys.stderr, ends=False)


def _lasting(stream: TextIO, *, ends: bool) -> TextIO:
    if not isinstance(stream, TextIOWrapper):  # closed from the start, or not a file
        return stream
    stream.flush()
    raw = Deserted(stream, ends=ends)
    return TextIOWrapper(
        raw if stream.write_through else BufferedWriter(raw),  # type: ignore[type-var]  # as Python does for python -u
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
