"""The plain loop as seen from here: a process that waits, computes one round when told to, and waits again."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from src.benchmark import plain_loop

# What src/__init__.py sets for this project; a script that never heard of it runs without.
PROJECT_ENVIRONMENT = ("OMP_WAIT_POLICY", "THP_MEM_ALLOC_ENABLE")


class PlainProcess:
    """The chapter's loop over the reviews in `path`; a waiting process takes no time from the others.

    A process of its own because the allocator and the OpenMP runtime read their environment once, at the start:
    inside this process the plain loop would silently run with this project's settings.
    """

    def __init__(self, path: Path, *, same_environment: bool, **options: Any) -> None:
        kept = {
            name: value for name, value in os.environ.items() if same_environment or name not in PROJECT_ENVIRONMENT
        }
        command = [sys.executable, plain_loop.__file__, str(path), json.dumps(options)]
        self.process = subprocess.Popen(command, env=kept, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> "PlainProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def train(self, rows: list[int]) -> dict[str, float]:
        """Seconds per phase of one pass over these training reviews."""
        return self._ask({"train": rows})

    def fit(self, epochs: int) -> float:
        """Validation loss after `epochs` over all training reviews, from fresh weights."""
        return self._ask({"fit": epochs})

    def _ask(self, command: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the plain loop ended with exit code {self.process.wait()} instead of an answer")
        return json.loads(answer)
