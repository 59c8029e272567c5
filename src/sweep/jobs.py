"""A job of a sweep, and how it ended: what its run folder says, else what the end of its process says."""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.run.files import read_json
from src.run.status import FAILED, FINISHED, KILLED, PRUNED, now, write_status

# Exit codes of a run that was asked to leave and has saved: it goes on where it stood.
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
DONE = (FINISHED, PRUNED)
LOG = "logs/job.log"  # what a job prints, in its folder


@dataclass(frozen=True, kw_only=True)
class Job:
    """A frozen run folder to be worked on. trial: its number in a search; gpus: how many it takes, 0 on a CPU."""

    number: int
    folder: Path
    overrides: tuple[str, ...]
    trial: int | None = None
    gpus: int = 0


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a job ended. state: finished, pruned, failed or killed; exit_code is 0 for the first two only."""

    state: str
    exit_code: int
    reason: str | None = None

    @property
    def done(self) -> bool:
        """It did what it was asked; to be pruned is part of that."""
        return self.state in DONE

    @property
    def stopped(self) -> bool:
        """It was told to leave, and is to be continued."""
        return self.exit_code in STOPPED


def ending_of(folder: Path, code: int, *, before: dict[str, Any] | None) -> Ending:
    """The end of the job in `folder` whose process ended with `code` (negative: by that signal).

    before: status.json as the process found it; what an earlier attempt wrote is not this one's end.

    A process that had no chance to write its end down gets it written into status.json here.
    """
    status = read_json(folder / "status.json") or {}
    state, said = status.get("state"), status.get("reason")
    if code == 0 and state in DONE:
        return Ending(state=state, exit_code=0, reason=said)
    if status != before and state in (FAILED, KILLED) and code == status.get("exit_code"):
        return Ending(state=state, exit_code=code, reason=said or f"stopped by {status.get('signal')}")
    ending = silent(code)
    reason = f"{ending.reason}; see {LOG}"
    write_status(
        folder / "status.json",
        **{**status, "state": ending.state, "reason": reason, "exit_code": ending.exit_code, "ended": now()},
    )
    return Ending(state=ending.state, exit_code=ending.exit_code, reason=reason)


def silent(code: int) -> Ending:
    """The end of a process that said nothing."""
    if code in STOPPED:
        code = 128 - code  # it was told to leave before it could write anything
    if code >= 0:
        return Ending(state=FAILED, exit_code=code or 1, reason=f"ended with exit code {code} and no word")
    number = signal.Signals(-code)
    hint = ", as the system does when memory runs out" if number == signal.SIGKILL else ""
    return Ending(state=KILLED, exit_code=128 + number, reason=f"killed by {number.name}{hint}")
