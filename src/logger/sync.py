"""Sends the records that W&B does not have yet: `python -m src.runs sync [RUN...]`."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from src.errors import UserError
from src.logger.record import FOLDER, RECORD, SENT, size_of
from src.logger.worker import launch
from src.run.files import read_json
from src.run.index import read_run
from src.run.status import RUNNING


def sync(runs: Sequence[Path], *, mode: str = "online") -> None:
    """One line per run: sent, sent before, or not over; why one could not be sent its process has said.

    Raises:
        UserError: runs could not be sent; all were tried.
    """
    failed = 0
    for run in runs:
        if read_run(run).state == RUNNING:
            words = "not over yet, it sends by itself"
        elif is_sent(run, mode=mode):
            words = "sent before"
        elif launch(run, mode=mode, stdin=subprocess.DEVNULL).wait():
            failed += 1
            words = "not sent"
        else:
            words = "sent"
        print(f"{run}: {words}", flush=True)
    if failed:
        raise UserError(f"{failed} of {len(runs)} runs were not sent; their records stay as they are.")


def is_sent(run: Path, *, mode: str) -> bool:
    """True if all of the record went there; what was kept offline is not with the server."""
    sent = read_json(run / FOLDER / SENT) or {}
    return sent.get("mode") == mode and sent.get("bytes") == size_of(run / FOLDER / RECORD)
