"""Checkpoints written in a thread: what they hold, in which order they come, and where their errors come out."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from src.run import state_file
from src.run.background import Background
from src.run.checkpoint import VerifiedCheckpointIO, load_latest
from src.run.manifest import find_last, step_folder
from src.run.sharded import save_sharded
from tests.conftest import ROOT


class Gate:
    """Holds every write of a file until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.reached, write = threading.Event(), threading.Event(), state_file._HashedFile.write

        def held(file: Any, data: Any) -> int:
            self.reached.set()
            assert self.open.wait(timeout=30)
            return write(file, data)

        monkeypatch.setattr(state_file._HashedFile, "write", held)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def save(
    io: VerifiedCheckpointIO, checkpoints: Path, step: int, state: dict[str, Any], *, sharded: bool = False
) -> None:
    path = step_folder(checkpoints, step) / "state.ckpt"
    options = {"scores": {"val/loss": 1.0}}
    if sharded:
        save_sharded({"global_step": step, **state}, path, io=io, storage_options=options)
    else:
        io.save_checkpoint({"global_step": step, **state}, path, options)


def weights(value: float) -> dict[str, Any]:
    return {"state_dict": {"w": torch.full((1000,), value)}, "counts": [1, 2]}


@pytest.mark.parametrize("sharded", [False, True])
def test_what_is_saved_is_the_state_at_the_time_of_the_call(tmp_path: Path, gate: Gate, sharded: bool) -> None:
    """Training goes on while the file is not even begun; until it is committed, nothing of it counts."""
    io, state = VerifiedCheckpointIO(asynchronous=True), weights(1.0)
    save(io, tmp_path, 1, state, sharded=sharded)
    assert gate.reached.wait(timeout=30)
    state["state_dict"]["w"].zero_()
    state["counts"].append(3)
    io.check()
    assert find_last(tmp_path) is None
    gate.open.set()
    io.wait()
    loaded = load_latest(tmp_path)
    assert torch.equal(loaded["state_dict"]["w"], torch.full((1000,), 1.0))
    assert loaded["counts"] == [1, 2]


def test_the_file_is_the_same_to_the_byte_as_one_written_at_once(tmp_path: Path) -> None:
    """Tied weights stay one, for example."""
    state = weights(1.0)
    state["state_dict"]["tied"] = state["state_dict"]["w"][:500]
    files = []
    for asynchronous in (False, True):
        io = VerifiedCheckpointIO(asynchronous=asynchronous)
        save(io, tmp_path / str(asynchronous), 1, state)
        io.wait()
        files.append((step_folder(tmp_path / str(asynchronous), 1) / "state.ckpt").read_bytes())
    assert files[0] == files[1]


def test_a_second_save_waits_for_the_first_and_meanwhile_the_disk_has_a_good_one(tmp_path: Path, gate: Gate) -> None:
    """At most one is under way, so the order of the commits is that of the steps."""
    gate.open.set()
    io = VerifiedCheckpointIO(asynchronous=True)
    save(io, tmp_path, 1, weights(1.0))
    io.wait()
    gate.open.clear()
    save(io, tmp_path, 2, weights(2.0))
    second = threading.Thread(target=save, args=(io, tmp_path, 3, weights(3.0)))
    second.start()
    second.join(timeout=0.3)
    assert second.is_alive()
    assert not step_folder(tmp_path, 3).exists()
    assert load_latest(tmp_path)["global_step"] == 1
    gate.open.set()
    second.join()
    io.wait()
    assert load_latest(tmp_path)["global_step"] == 3
    assert sorted(path.name for path in tmp_path.glob("step-*")) == [f"step-0000000{step}" for step in (1, 2, 3)]


@pytest.mark.parametrize("place", ["check", "wait", "teardown", "save"])
def test_an_error_comes_out_at_the_next_place_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """The earlier checkpoint is intact, and the next save works."""
    io = VerifiedCheckpointIO(asynchronous=True)
    save(io, tmp_path, 1, weights(1.0))
    io.wait()

    def full(file: Any, data: Any) -> int:
        file.error = OSError(28, "No space left on device")
        raise file.error

    with monkeypatch.context() as patch:
        patch.setattr(state_file._HashedFile, "write", full)
        save(io, tmp_path, 2, weights(2.0))
        while io._background._thread.is_alive():
            io._background._thread.join()
    with pytest.raises(OSError, match="earlier ones are intact"):
        save(io, tmp_path, 3, weights(3.0)) if place == "save" else getattr(io, place)()
    io.check()
    io.wait()
    assert load_latest(tmp_path)["global_step"] == 1
    save(io, tmp_path, 3, weights(3.0))
    io.teardown()
    assert load_latest(tmp_path)["global_step"] == 3


def test_check_does_not_wait(tmp_path: Path, gate: Gate) -> None:
    """It is called at every step."""
    work = Background()
    work.start(lambda: gate.open.wait(timeout=30))
    work.check()
    assert not gate.open.is_set()
    gate.open.set()
    work.wait()


SCRIPT = """
import signal, sys, time
from pathlib import Path
import torch
from src.run import state_file
from src.run.checkpoint import VerifiedCheckpointIO
from src.run.manifest import step_folder

write = state_file._HashedFile.write
def slow(file, data):
    time.sleep(0.1)
    return write(file, data)
state_file._HashedFile.write = slow
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
state = {"global_step": 1, "state_dict": {str(n): torch.ones(10) for n in range(5)}}
VerifiedCheckpointIO(asynchronous=True).save_checkpoint(state, step_folder(Path(sys.argv[1]), 1) / "state.ckpt")
print("training", flush=True)
time.sleep(60)
"""


def test_a_terminated_process_finishes_the_write_in_flight(tmp_path: Path) -> None:
    """Even where nobody calls `wait`: the thread is no daemon."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        assert find_last(tmp_path) is None, "the write ended too soon to test anything"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
    assert load_latest(tmp_path)["global_step"] == 1
