"""The run folder: one name per file, and one run per folder."""

import errno
import fcntl
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.run.files import read_json, short_id, write_text
from src.run.process import identify, is_gone
from src.run.secrets import find_secrets, redact, redact_arguments
from src.run.status import RUNNING, now, write_status
from src.run.yaml_text import to_yaml


def run_name(model: str, *, when: datetime | None = None) -> str:
    """`<date>_<time>_<model>_<id>`: sorts by time, and two runs of one second still differ by their id."""
    return f"{when or datetime.now():%Y-%m-%d_%H-%M-%S}_{model}_{short_id()}"


class RunFolder:
    """Paths of one run's files; `RunFolder(path)` only names them, `RunFolder.claim(path)` makes the folder ours."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(check_name(path))
        self.config = self.path / "config.yaml"
        self.command = self.path / "command.txt"
        self.status = self.path / "status.json"
        self.environment = self.path / "env.json"
        self.metrics = self.path / "metrics.csv"
        self.result = self.path / "result.json"
        self.ledger = self.path / "test_ledger.jsonl"
        self.predictions_val = self.path / "predictions_val.npz"
        self.predictions_test = self.path / "predictions_test.npz"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"
        self.last = self.checkpoints / "last.ckpt"
        self.report = self.path / "report.html"
        self.logs = self.path / "logs"
        self._lock: int | None = None

    @classmethod
    def claim(cls, path: str | Path, *, resume: bool = False) -> "RunFolder":
        """Take `path` for this process: nobody else can, until it ends or calls `release`.

        `resume=True` also takes the folder of a run that has ended (or was killed). Raises UserError when the folder
        belongs to a run, or to a living process, or cannot be written.
        """
        folder = cls(path)
        try:
            folder.checkpoints.mkdir(parents=True, exist_ok=True)
            folder.logs.mkdir(exist_ok=True)
            folder._lock = _lock(folder.path)
        except (PermissionError, FileExistsError, NotADirectoryError) as error:
            raise UserError(
                f"The run folder ({folder.path}) cannot be written: {error}. Choose another one."
            ) from error
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            raise UserError(f"The run folder ({folder.path}) is read-only. Choose another one.") from error
        try:
            folder._take_status(resume=resume)
            folder.clear_temporary()
        except BaseException:
            folder.release()
            raise
        return folder

    def _take_status(self, *, resume: bool) -> None:
        """Write the first status, or the next attempt's over that of an ended one."""
        before: dict[str, Any] = {}
        try:
            os.close(os.open(self.status, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            before = read_json(self.status) or {}
            if not resume:
                raise UserError(
                    f"The run folder ({self.path}) already holds a run. Choose another folder, or continue that run "
                    "with resume=auto."
                ) from None
            if before.get("state") == RUNNING and not is_gone(before) and before.get("host") == identify()["host"]:
                raise UserError(_in_use(self.path, before)) from None
        attempt = int(before.get("attempt", 0)) + 1
        first = before.get("first_started") or now()
        write_status(self.status, state=RUNNING, started=now(), attempt=attempt, first_started=first, **identify())

    def clear_temporary(self) -> None:
        """Remove what a killed process was writing; other ranks, if they live already, write into logs/ only."""
        for stray in self.path.glob(".*.tmp"):
            stray.unlink(missing_ok=True)

    def release(self) -> None:
        """Let another process claim the folder; the end of the process does the same."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the resolved configuration as YAML, its secrets redacted."""
        write_text(self.config, to_yaml(redact(config, known=find_secrets(config))))

    def write_command(self, arguments: list[str], *, config: dict[str, Any] | None = None) -> None:
        """Write the command as a line that can be pasted into a shell, its secrets redacted."""
        write_text(self.command, redact_arguments(arguments, known=find_secrets(config or {})) + "\n")


def check_name(path: str | Path) -> str:
    """`path` as a string; raises UserError for control characters, which break command.txt, logs and shells."""
    text = os.fspath(path)
    if not text or any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise UserError(
            f"The run folder ({text!r}) must be a path without line breaks or control characters. Choose another name."
        )
    return text


def _in_use(path: Path, status: dict[str, Any] | None) -> str:
    who = f"process {status['pid']} on {status['host']}" if status and "pid" in status else "another process"
    return f"The run folder ({path}) is in use by {who}. Wait for it or stop it, or choose another folder."


def _lock(path: Path) -> int | None:
    """Hold `.lock` by a record lock: it dies with the process, is not inherited by its workers, and works over NFS."""
    descriptor = os.open(path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise UserError(_in_use(path, read_json(path / "status.json"))) from None
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            print(f"Note: {path} is on a file system without locks; do not resume it twice at once.", file=sys.stderr)
            return None
        raise
    return descriptor
