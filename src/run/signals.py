"""Signals that ask a run to end: noted at once, obeyed where nothing is lost by it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# SIGUSR1 and SIGUSR2 are how a cluster says that time is nearly up; without a handler they kill at once.
ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


class Terminated(SystemExit):
    """SIGTERM, SIGUSR1 or SIGUSR2 ended the run: exit code 143.

    A SystemExit, so that no `except Exception` keeps a run alive that was told to go.
    """

    def __init__(self, received: signal.Signals = signal.SIGTERM) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.received = received


class Interrupted(SystemExit):
    """Ctrl-C ended the run in order: exit code 130. KeyboardInterrupt is what a second Ctrl-C raises at once."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGINT)
        self.received = signal.SIGINT


def ending(received: signal.Signals) -> Terminated | Interrupted:
    """The exception with which a run ends that was asked to by this signal."""
    return Interrupted() if received == signal.SIGINT else Terminated(received)


class Signals:
    """What this process was asked: `received` is the first of the four signals, None so far; `obeyed`: it was raised.

    A signal raises at once (Terminated, KeyboardInterrupt) while the run prepares. Inside `held()` it is only noted,
    because ranks must save the same step and a collective that one of them leaves never ends; `look()` then obeys.
    """

    def __init__(self, *, insist: bool) -> None:
        self.received: signal.Signals | None = None
        self.insist = insist
        self.obeyed = False
        self._held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Only note signals inside the block; whoever runs it looks at `received` at its own safe places."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def look(self) -> None:
        """Raise Terminated or Interrupted if a signal was noted."""
        if self.received is not None:
            raise ending(self.received)

    def hear(self, number: int) -> None:
        """Another rank was asked to end by signal `number`; 0: none was. The same signal then counts on all ranks."""
        if number:
            self.received = signal.Signals(number)

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler. No more than this: inside a handler any lock, file or collective may be half way through."""
        first = self.received is None
        if first:
            self.received = signal.Signals(number)
        if number == signal.SIGINT and not first and self.insist:
            raise KeyboardInterrupt
        if first and not self._held:
            self.obeyed = True
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(signal.Signals(number))


@contextmanager
def listen(*, insist: bool = True) -> Iterator[Signals]:
    """Note the four signals inside the block, main thread only (Python allows handlers nowhere else).

    insist: a second Ctrl-C raises KeyboardInterrupt wherever the process is. A rank that another process started gets
    one Ctrl-C from the terminal and one from its parent, so it never insists. A shell's `command &` ignores SIGINT;
    that stays so.
    """
    signals = Signals(insist=insist)
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in ASKING:
            if not (number == signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN):
                before[number] = signal.signal(number, signals.note)
    try:
        yield signals
    except Exception as error:
        if signals.obeyed and signals.received is not None:
            # Half of an import that a signal ended, NumPy's for one, fails with errors of its own.
            raise ending(signals.received) from error
        raise
    finally:
        _restore(before)


@contextmanager
def blocked() -> Iterator[None]:
    """Let the four signals wait until the block is over: for the milliseconds in which the end is written down.

    A signal mask would not do: the signal then goes to another thread of the process, and Python to its handler.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in ASKING}
    try:
        yield
    finally:
        _restore(before)
        for number in came:
            signal.raise_signal(number)


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        # None: it was not set from Python, so it cannot be set back from Python either.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
