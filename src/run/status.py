"""How a run stands and how it ended: running, finished, failed (reason, exit code) or killed (signal)."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import Diverged, Pruned, RankFailed, UserError
from src.run.files import read_json, write_json
from src.run.secrets import redact
from src.run.signals import Interrupted, Terminated, blocked

if TYPE_CHECKING:
    from src.run.folder import RunFolder

RUNNING, FINISHED, FAILED, KILLED = "running", "finished", "failed", "killed"
PREPARED, SUBMITTED = "prepared", "submitted"  # a batch job's run before its first attempt
PRUNED = "pruned"  # ended early by the search that it is a trial of: it did what it was asked
OUT_OF_MEMORY = 4  # exit code
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
_REASON_LETTERS = 2000  # a CUDA message can quote a whole allocator dump


def now() -> str:
    """The time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_status(path: Path, **fields: Any) -> None:
    """Replace status.json; a reader sees the old one or the new one, never half of either."""
    write_json(path, fields)


def exit_code(error: BaseException) -> int:
    """The exit code a process must end with after `error`; 0 only for Pruned, as other work that raised is not done."""
    number = killed_by(error)
    if number is not None:
        # SIGUSR1 and SIGUSR2 end a run as SIGTERM does.
        return 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
    if isinstance(error, UserError | Diverged | RankFailed | Pruned):
        return error.exit_code
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, SystemExit) and isinstance(error.code, int) and 0 < error.code < 256:
        return error.code
    return 1


def killed_by(error: BaseException) -> signal.Signals | None:
    """The signal behind `error`. Lightning turns a KeyboardInterrupt into SystemExit(1)."""
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    if isinstance(error, SystemExit):
        if isinstance(error, Terminated | Interrupted):
            return error.received
        if any(kind.__name__ == "SIGTERMException" for kind in type(error).__mro__):
            return signal.SIGTERM
        if isinstance(error.__context__, KeyboardInterrupt):
            return signal.SIGINT
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """True for torch's OutOfMemoryError (known by name, torch stays unimported), MemoryError and the CPU allocator."""
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY_WORDS)


@contextmanager
def recording(folder: "RunFolder", *, known: frozenset[str] = frozenset()) -> Iterator[None]:
    """Run the block as the run of `folder`: its end, good or bad, goes to status.json; exceptions pass on unchanged.

    All but Pruned, which is an end in order.

    `known` are secret values (see secrets.find_secrets) that must not appear in a recorded reason. That a signal ends
    the block with an exception is the work of `signals.listen` around it.
    """
    try:
        yield
    except Pruned as pruned:
        with blocked():
            _close(folder, state=PRUNED, reason=str(pruned), exit_code=0)
    except BaseException as error:
        with blocked():
            _record_failure(folder, error, known)
        raise
    else:
        with blocked():
            _close(folder, state=FINISHED, exit_code=0)
    finally:
        folder.release()


def _record_failure(folder: "RunFolder", error: BaseException, known: frozenset[str]) -> None:
    number, code = killed_by(error), exit_code(error)
    words = str(error) if not isinstance(error, SystemExit) else f"left by SystemExit({error.code!r}) before the end"
    reason = redact(f"{type(error).__name__}: {words}"[:_REASON_LETTERS], known=known)
    try:
        if number is not None:
            _close(folder, state=KILLED, signal=number.name, exit_code=code)
        else:
            _close(folder, state=FAILED, reason=reason, exit_code=code)
    except OSError as problem:  # a full disk must not hide why the run failed
        print(f"Note: {folder.status} could not be written ({problem}).", file=sys.stderr)


def _close(folder: "RunFolder", **outcome: Any) -> None:
    fields = read_json(folder.status) or {}
    write_status(folder.status, **{**fields, **outcome, "ended": now()})
