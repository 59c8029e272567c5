"""Who runs: a process named so that no other one, elsewhere or later, is mistaken for it."""

import os
import socket
from pathlib import Path
from typing import Any


def identify(pid: int | None = None) -> dict[str, Any]:
    """`pid`, `host` and `process_start` of a process (this one by default)."""
    pid = os.getpid() if pid is None else pid
    return {"pid": pid, "host": socket.gethostname(), "process_start": start_time(pid)}


def start_time(pid: int) -> str | None:
    """Clock ticks from boot to the start of `pid`; None without such a process or without /proc (macOS).

    Field 22 of /proc/<pid>/stat. The name in field 2 may hold spaces and brackets, so we count after the last one.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]  # a zombie has ended; only its parent has not looked yet


def is_gone(identity: dict[str, Any]) -> bool:
    """True if the process named by `identify` ran on this machine and ended; False also if nobody can tell."""
    pid, host = identity.get("pid"), identity.get("host")
    if not isinstance(pid, int) or host != socket.gethostname():
        return False
    if Path("/proc/self/stat").exists():
        start = start_time(pid)
        return start is None or start != identity.get("process_start")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
