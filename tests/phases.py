"""Names every step of saving a checkpoint, and ends the process by SIGKILL just before a chosen one."""

import json
import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from src.run import state_file

AUDITED = {"os.rename": "rename", "os.link": "link", "os.remove": "remove", "os.rmdir": "remove", "os.mkdir": "mkdir"}


class Phases:
    """From now on counts what this process does to the files below a folder: open, write, fsync, rename, link, remove.

    A phase is the operation and the file: "rename state.ckpt" is after the file was synced and before it has its name.
    death: a phase, and at which of its times the process kills itself before doing it.
    """

    def __init__(self, folder: Path, *, death: tuple[str, int] | None) -> None:
        self.folder, self.death, self.counts = str(folder), death, Counter[str]()
        sys.addaudithook(self.audit)
        sync = os.fsync

        def fsync(descriptor: int) -> None:
            self.reach("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
            sync(descriptor)

        os.fsync = fsync  # type: ignore[assignment]
        write = state_file._HashedFile.write

        def counted(file: Any, data: Any) -> int:
            self.reach("write", file._file.name)
            return write(file, data)

        state_file._HashedFile.write = counted  # type: ignore[method-assign]

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | os.PathLike) and isinstance(arguments[1], str):
            if not arguments[1].startswith("r"):
                self.reach("open", arguments[0])
        elif event in AUDITED:
            self.reach(AUDITED[event], arguments[1 if event in ("os.rename", "os.link") else 0])

    def reach(self, operation: str, path: Any) -> None:
        path = os.fspath(path)
        if not path.startswith(self.folder):
            return
        # Temporary names end in random letters, and folders in their step.
        name = re.sub(r"^\.(.+)\.\w{8}\.tmp$", r"\1", os.path.basename(path))
        phase = f"{operation} {re.sub('[0-9]+', 'N', name)}"
        self.counts[phase] += 1
        if self.death == (phase, self.counts[phase]):
            os.kill(os.getpid(), signal.SIGKILL)

    def write(self, path: Path) -> None:
        """How often each phase was reached."""
        path.write_text(json.dumps(self.counts))
