"""Freezes a job: all there is to know about its run is in its folder before anything is started."""

import sys
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.launch.neighbours import config_words
from src.run.folder import RunFolder
from src.run.status import FAILED, PREPARED, now, write_status


def freeze(config: dict[str, Any], folder: Path, *, overrides: tuple[str, ...]) -> None:
    """Write a checked config into the folder of its job, and the command that would be this job alone.

    status.json comes last: a folder without it is no frozen job.
    """
    run = RunFolder(folder)
    run.logs.mkdir(parents=True, exist_ok=True)
    run.write_config({**config, "resume": "auto", "dry_run": False})
    run.write_command(["python", "-m", "src.train", *config_words(sys.argv), *overrides], config=config)
    write_status(run.status, state=PREPARED, attempt=0)


def is_frozen(folder: Path) -> bool:
    """True if the job in `folder` can be started from its files."""
    return all((folder / name).is_file() for name in ("config.yaml", "status.json"))


def refuse(folder: Path, reason: str) -> None:
    """Make the folder of a job that cannot be started, with the reason in its status."""
    run = RunFolder(folder)
    run.logs.mkdir(parents=True, exist_ok=True)
    code = UserError.exit_code
    write_status(run.status, state=FAILED, attempt=0, reason=reason, exit_code=code, started=now(), ended=now())
