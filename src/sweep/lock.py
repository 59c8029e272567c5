"""One driver per sweep: a lock that dies with its process, however that ends."""

import errno
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from src.errors import UserError
from src.run.process import identify


@contextmanager
def driving(sweep: Path) -> Iterator[None]:
    """Hold the sweep folder, which is made, inside the block; it works over NFS, and children do not inherit it.

    Raises:
        UserError: another driver has it, or it cannot be written.
    """
    try:
        sweep.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(sweep / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise UserError(f"The sweep folder ({sweep}) cannot be written: {error}. Choose another one.") from error
    try:
        _lock(descriptor, sweep)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(identify()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, sweep: Path) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            driver = json.loads(os.pread(descriptor, 1000, 0) or b"{}")
            who = f"process {driver['pid']} on {driver['host']}" if driver else "another process"
            raise UserError(f"The sweep in {sweep} is being driven by {who}. Wait for it, or stop it.") from None
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        print(f"Note: {sweep} is on a file system without locks; start no second driver there.", file=sys.stderr)
