"""The process that sends a record while the run trains, as the training sees it: started, and stopped in time."""

import atexit
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from src.logger.record import FOLDER

SECONDS = 30.0  # that a training waits for W&B at its end, at most
SECONDS_FAILED = 5.0  # where it ended otherwise: a batch system may be about to kill it
SOURCE = Path(__file__).resolve().parents[2]


class Worker:
    """`start` once there is something to send, `stop` at the end; a process that died has said why by itself."""

    def __init__(self, run: Path, *, mode: str) -> None:
        self.run, self.mode = run, mode
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, unless WANDB_MODE says that there is none."""
        if os.environ.get("WANDB_MODE") == "disabled":
            _say("WANDB_MODE=disabled, so wandb/record.jsonl is written and nothing else.")
            return
        if os.environ.get("WANDB_MODE") == "offline" != self.mode:
            self.mode = "offline"
            _say("WANDB_MODE=offline, so nothing is sent now.")
        try:
            self.process = launch(self.run, mode=self.mode, stdin=subprocess.PIPE)
        except OSError as error:
            _say(f"its process cannot be started ({error}). {later(self.run)}")
            return
        atexit.register(self.stop, seconds=SECONDS_FAILED)

    def stop(self, *, seconds: float = SECONDS) -> None:
        """Let it finish for at most so long, then end it."""
        process, self.process = self.process, None
        if process is None:
            return
        atexit.unregister(self.stop)
        assert process.stdin is not None
        process.stdin.close()  # tells it that nothing comes any more
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            _say(f"it did not finish within {seconds:.0f} s. {later(self.run)}")
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def launch(run: Path, *, mode: str, stdin: int) -> "subprocess.Popen[bytes]":
    """`python -m src.logger.sending <run> <mode>`, out of reach of the terminal's Ctrl-C."""
    variables = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, (str(SOURCE), variables.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "src.logger.sending", str(run.resolve()), mode]
    return subprocess.Popen(command, stdin=stdin, env=variables, start_new_session=True)


def later(run: Path) -> str:
    """Where everything is, and how it gets to W&B."""
    return f"The run goes on; {run / FOLDER}/record.jsonl holds everything, `python -m src.runs sync` sends it later."


def _say(words: str) -> None:
    print(f"W&B: {words}", file=sys.stderr, flush=True)
