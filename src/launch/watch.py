"""What the launcher does while its ranks run: passes signals on, ends a job of which a rank died or hangs."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.run.heartbeat import Beat, Outcome, find_hung, read_beats
from src.run.signals import ASKING, Signals

# Seconds that the other ranks have after one has failed. With gloo they notice at once; a rank that waits on its GPU
# for one that is gone does not.
AFTER_FAILURE = 5.0
# Seconds after the first rank has obeyed a signal. By then all have saved; loggers may still send what they hold.
AFTER_SIGNAL = 60.0
# Seconds beyond the group's timeout, so that a rank which gives up waiting can say so first.
MARGIN = 5.0
# Seconds that Lightning gives a process group whose strategy does not say.
USUAL_TIMEOUT = 1800.0


def obeyed(code: int, outcome: Outcome | None) -> bool:
    """True if a rank ended because it was asked to; one that Python had not started up yet dies of the signal."""
    return -code in ASKING if outcome is None else outcome.signal is not None


@dataclass
class Watch:
    """One attempt of a run's ranks on this machine.

    ended: ranks and exit codes (negative: a signal). killed: ranks that were ended here. hung: the one that the
    others waited for, if that was the end, and seen_hung when that was seen (wall clock).
    """

    logs: Path
    signals: Signals
    timeout: float
    ended: dict[int, int] = field(default_factory=dict)
    killed: set[int] = field(default_factory=set)
    hung: Beat | None = None
    seen_hung: float = 0.0
    _passed_on: bool = False
    _failed: float | None = None

    def look(self, pids: dict[int, int], codes: dict[int, int | None]) -> bool:
        """Called ten times a second with pid and exit code of every rank; True when all have ended."""
        self.ended |= {rank: code for rank, code in codes.items() if code is not None}
        running = {rank: pid for rank, pid in pids.items() if rank not in self.ended}
        if not running:
            return True
        if self.signals.received is not None and not self._passed_on:
            # The terminal does not reach the ranks: each has a session of its own.
            self._passed_on = True
            ask(running, self.signals.received)
        beats = {rank: beat for rank, beat in read_beats(self.logs).items() if rank in pids}
        if any(self.ended.values()):
            self._let_the_rest_end(running, beats)
        elif not self.killed:
            self.seen_hung = time.time()
            self.hung = find_hung(beats, now=self.seen_hung, timeout=self.timeout + MARGIN)
            if self.hung is not None:
                self.kill(running)
        return False

    def _let_the_rest_end(self, running: dict[int, int], beats: dict[int, Beat]) -> None:
        outcomes = {rank: beats[rank].outcome if rank in beats else None for rank in self.ended}
        in_order = all(obeyed(code, outcomes[rank]) for rank, code in self.ended.items() if code)
        if self._failed is None:
            self._failed = time.monotonic()
            if in_order:
                # While the ranks prepare, they do not know of each other's signals.
                ask(running, signal.SIGTERM)
        if self.killed or time.monotonic() - self._failed < (AFTER_SIGNAL if in_order else AFTER_FAILURE):
            return
        if all(outcome is not None and outcome.lost for outcome in outcomes.values()):
            # All that ended gave up waiting, so whoever is left is what they waited for.
            left = [beats[rank] for rank in running if rank in beats]
            self.hung, self.seen_hung = min(left, key=lambda beat: beat.marks, default=None), time.time()
        self.kill(running)

    def kill(self, running: dict[int, int]) -> None:
        """End these ranks and what they have started; only SIGKILL also ends a stopped process."""
        self.killed |= running.keys()
        for pid in running.values():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def ask(running: dict[int, int], number: signal.Signals) -> None:
    """Send a signal to the ranks alone: what they have started is theirs to end."""
    for pid in running.values():
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def timeout_of(config: dict[str, Any]) -> float:
    """Seconds that a rank waits for the others in one collective."""
    strategy = config["trainer"]["strategy"]
    return float(strategy.get("timeout", USUAL_TIMEOUT)) if isinstance(strategy, dict) else USUAL_TIMEOUT
