"""Every end of a run is recorded with the right state and exit code."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from src.errors import Diverged, RankFailed, UserError
from src.run.folder import RunFolder
from src.run.process import identify, is_gone
from src.run.signals import Interrupted, Terminated
from src.run.status import exit_code, recording

ROOT = Path(__file__).resolve().parents[1]


class OutOfMemoryError(RuntimeError):
    """Stands for torch.OutOfMemoryError, which is known by its name."""


class SIGTERMException(SystemExit):
    """Stands for Lightning's, which carries no exit code."""


ENDS = [
    (UserError("lr (x) must be a number."), "failed", 2),
    (Diverged("loss was nan"), "failed", 3),
    (OutOfMemoryError("CUDA out of memory"), "failed", 4),
    (MemoryError(), "failed", 4),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "failed", 4),
    (RuntimeError("shape mismatch"), "failed", 1),
    (SystemExit(7), "failed", 7),
    (SystemExit(0), "failed", 1),
    (SystemExit(None), "failed", 1),
    (SystemExit("words"), "failed", 1),
    (KeyboardInterrupt(), "killed", 130),
    (Terminated(), "killed", 143),
    (Terminated(signal.SIGUSR1), "killed", 143),
    (Interrupted(), "killed", 130),
    (RankFailed("Rank 1 was killed by SIGKILL", exit_code=137), "failed", 137),
    (SIGTERMException(), "killed", 143),
]


@pytest.mark.parametrize(("error", "state", "code"), ENDS, ids=[repr(error) for error, *_ in ENDS])
def test_every_end_has_its_state_and_exit_code(tmp_path: Path, error: BaseException, state: str, code: int) -> None:
    """The exception itself passes through."""
    folder = RunFolder.claim(tmp_path / "run")
    with pytest.raises(type(error)) as caught, recording(folder):
        raise error
    status = json.loads(folder.status.read_text())
    assert caught.value is error
    assert (status["state"], status["exit_code"], exit_code(error)) == (state, code, code)
    assert status["started"] <= status["ended"]
    if state == "failed":
        assert type(error).__name__ in status["reason"]


def test_only_a_normal_end_is_finished(tmp_path: Path) -> None:
    """The start stays in the file, the pid and host too."""
    folder = RunFolder.claim(tmp_path / "run")
    with recording(folder):
        assert json.loads(folder.status.read_text())["state"] == "running"
    status = json.loads(folder.status.read_text())
    assert (status["state"], status["exit_code"], status["attempt"]) == ("finished", 0, 1)
    assert {key: status[key] for key in ("pid", "host", "process_start")} == identify()
    RunFolder.claim(folder.path, resume=True).release()


def test_ctrl_c_that_lightning_turned_into_exit_1_is_still_130() -> None:
    """Lightning calls sys.exit(1) inside its `except KeyboardInterrupt`."""

    def interrupted_fit() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    with pytest.raises(SystemExit) as caught:
        interrupted_fit()
    assert exit_code(caught.value) == 130


def test_the_names_taken_from_torch_and_lightning_exist_there() -> None:
    """The stand-ins above are only worth something while the originals are called so."""
    import torch
    from lightning.pytorch.utilities.exceptions import SIGTERMException as Lightnings

    assert exit_code(torch.OutOfMemoryError("x")) == 4
    assert exit_code(Lightnings()) == 143
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert exit_code(caught.value) == 4, str(caught.value)


def test_a_disk_error_while_recording_does_not_hide_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The folder vanished: the original error still arrives, with one line about the status."""
    folder = RunFolder.claim(tmp_path / "run")
    folder.path.rename(tmp_path / "away")
    with pytest.raises(Diverged, match="loss"), recording(folder):
        raise Diverged("loss was nan")
    assert "could not be written" in capsys.readouterr().err


RUN = """
import signal, sys, time
from src.run.folder import RunFolder
from src.run.signals import listen
from src.run.status import exit_code, recording
# A shell that starts the tests in the background ignores SIGINT for all its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
folder = RunFolder.claim(sys.argv[1])
try:
    with listen(), recording(folder):
        print("ready", flush=True)
        time.sleep(60)
except BaseException as error:
    sys.exit(exit_code(error))
"""


@pytest.mark.parametrize(("number", "name", "code"), [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGINT, "SIGINT", 130)])
def test_a_real_signal_is_recorded_by_name(tmp_path: Path, number: signal.Signals, name: str, code: int) -> None:
    """A process of its own, signalled from outside."""
    path = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", RUN, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    process.communicate()
    status = json.loads((path / "status.json").read_text())
    assert (status["state"], status["signal"], process.returncode) == ("killed", name, code)


def test_a_process_is_known_by_more_than_its_number() -> None:
    """Own process: alive. Same number, other start: gone. Other host: nobody can tell. Ended: gone."""
    me = identify()
    assert not is_gone(me)
    assert is_gone({**me, "process_start": "1"}) == Path("/proc/self/stat").exists()
    assert not is_gone({**me, "host": "elsewhere", "pid": 2**22 - 3})
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = identify(child.pid)
    assert not is_gone(identity)
    child.communicate(b"\n")
    assert is_gone(identity)
    assert not is_gone({"pid": None, "host": os.uname().nodename})
