"""A probe of attention_probe.py as seen from here: it has measured its memory, and times one round when told to."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class ProbeProcess:
    """One backend at one length; a waiting process takes no time from the others."""

    def __init__(self, **options: Any) -> None:
        """Returns when memory is measured: the next probe starts on a quiet machine."""
        command = [sys.executable, "-m", "src.benchmark.attention_probe", json.dumps(options)]
        self.process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        first = self._read()
        self.memory: dict[str, int | None] = first["memory"]
        self.refused: str | None = first["refused"]

    def __enter__(self) -> "ProbeProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def seconds(self) -> dict[str, float]:
        """Of one round: `forward`, and `both` for a forward with its backward."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a probe ended with exit code {self.process.wait()} instead of an answer")
        return json.loads(answer)
