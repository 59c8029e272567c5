"""A disk that is full while a run trains: it ends, says so, and goes on from its last checkpoint once there is room."""

import os
import resource
import subprocess

import pytest

from src.run.checkpoint import load_latest
from src.run.files import read_json
from src.run.manifest import committed
from tests.forked_door import ask
from tests.legs import new_run, typed
from tests.same_run import differences


@pytest.fixture
def train(tmp_path):
    """`train(folder, first=...)`: the door, with resume=auto; `first` is called in its process."""
    return lambda folder, **options: ask(
        "train", *typed("bilstm", outputs=tmp_path), f"hydra.run.dir={folder}", **options
    )


def test_files_that_may_not_grow_cost_one_save_and_nothing_else(tmp_path, train):
    """The first checkpoint does not fit; the run then ends as one that never met a limit."""
    alone, run = new_run(tmp_path / "alone", "bilstm"), tmp_path / "run"
    assert alone.begin().wait() == 0
    size = committed(alone.folder / "checkpoints")[0].bytes
    answer = train(run, first=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2)))
    assert (answer.code, committed(run / "checkpoints")) == (1, []), answer.said
    sentence = answer.said.splitlines()[-1]
    assert "File too large; the checkpoint was not written, earlier ones are intact" in sentence
    assert "resume=auto" in sentence
    assert "Traceback" not in answer.said
    assert "File too large" in read_json(run / "status.json")["reason"]
    assert train(run).code == 0
    assert differences(alone.folder, run) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_run_survives_a_disk_that_is_full_again_and_again(tmp_path, small_disk, train):
    """Less and less room for checkpoints of 1 MB, at last for no file at all; then it ends as one that had room."""
    alone, run, filler = new_run(tmp_path / "alone", "bilstm"), small_disk / "run", small_disk / "filler"
    assert alone.begin().wait() == 0
    steps = []
    for room in (2_500_000, 200_000, 0):
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        filler.write_bytes(bytes(max(0, free - room)))
        answer = train(run)
        filler.unlink()
        assert answer.code == 1, answer.said
        assert "No space left on device" in answer.said.splitlines()[-1]
        assert "Traceback" not in answer.said
        now = [manifest.step for manifest in committed(run / "checkpoints")]
        assert now[-1] >= max(steps, default=0)
        assert len(now) >= min(2, len(steps))
        assert load_latest(run / "checkpoints")["global_step"] == now[-1]
        steps = now
    assert train(run).code == 0
    assert differences(alone.folder, run) == []
