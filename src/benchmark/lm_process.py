"""A training in a process of its own, as seen from here: it waits, trains one round when told to, and waits again."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from src.benchmark import lm_transformers
from src.benchmark.plain_process import PROJECT_ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]


class TrainingProcess:
    """One contender; a waiting process takes no time from the others.

    A process of its own because allocator and OpenMP read their environment once, at the start, and because what one
    side compiles or imports must not help or hinder the other.
    """

    def __init__(self, *, ours: bool, same_environment: bool, **options: Any) -> None:
        """same_environment: the other side too gets the variables that this project sets. options: see the scripts."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if ours or same_environment or name not in PROJECT_ENVIRONMENT
        }
        # -P: a script's folder does not become a place to import from, where a file of ours could hide a library's.
        script = ["-m", "src.benchmark.lm_ours"] if ours else ["-P", lm_transformers.__file__]
        command = [sys.executable, *script, json.dumps(options)]
        self.process = subprocess.Popen(
            command, env=kept, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> "TrainingProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def parameters(self) -> int:
        """Its first word: the model is built."""
        return self._read()["parameters"]

    def train(self) -> float:
        """Seconds of one round."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()["seconds"]

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a training ended with exit code {self.process.wait()} instead of an answer")
        return json.loads(answer)
