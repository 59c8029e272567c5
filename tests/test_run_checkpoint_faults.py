"""Checkpoints under faults: bit flips, truncation, SIGKILL at every step of a save, a full disk.

Of every kind: in one file or in shards, written at once or in a thread."""

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from src.errors import UserError
from src.run.checkpoint import VerifiedCheckpointIO, load_latest, load_verified
from src.run.manifest import find_best, find_last, step_folder
from src.run.sharded import save_sharded

SIZE = 20_000  # bytes of weights, about


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync changes nothing that a killed process leaves behind, only what a power cut does; it is still counted."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


KINDS = ["one file", "one file in a thread", "shards", "shards in a thread"]


def save(checkpoints: Path, step: int, loss: float, *, kind: str = "one file") -> Path:
    state = {"global_step": step, "state_dict": {"w": torch.full((SIZE // 4,), float(step))}}
    path = step_folder(checkpoints, step) / "state.ckpt"
    io, options = VerifiedCheckpointIO(asynchronous="thread" in kind), {"scores": {"val/loss": loss}}
    if "shards" in kind:
        save_sharded(state, path, io=io, storage_options=options)
    else:
        io.save_checkpoint(state, path, options)
    io.teardown()
    return path


def is_whole(state: dict[str, Any]) -> bool:
    weights = state["state_dict"]["w"]
    return bool((weights == float(state["global_step"])).all()) and len(weights) == SIZE // 4


def test_every_flipped_bit_is_found_and_the_previous_checkpoint_used(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """300 random bits of the newest file; torch alone would load nearly all of them as wrong weights."""
    save(tmp_path, 1, 0.5)
    path = save(tmp_path, 2, 0.4)
    good, draw = path.read_bytes(), random.Random(0)
    for _ in range(300):
        bad, bit = bytearray(good), draw.randrange(len(good) * 8)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        state = load_latest(tmp_path)
        assert (state["global_step"], is_whole(state)) == (1, True), f"bit {bit}"
    said = capsys.readouterr().err
    assert said.count("is damaged: its sha256") == 300
    assert said.count("Note: using the checkpoint of step 1") == 300
    with pytest.raises(UserError, match=r"step-00000002/state\.ckpt is damaged"):
        load_verified(path)
    with pytest.raises(UserError, match=r"step-00000002/state\.ckpt is damaged"):
        load_verified(tmp_path / "best.ckpt")


def test_every_flipped_bit_of_a_manifest_is_found(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Of 200: a step, a score or a name that changed would be as wrong as a weight."""
    save(tmp_path, 1, 0.5)
    path = save(tmp_path, 2, 0.4).with_name("manifest.json")
    good, draw = path.read_bytes(), random.Random(3)
    for _ in range(200):
        bad, bit = bytearray(good), draw.randrange(len(good) * 8)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        assert find_last(tmp_path).step == 1, f"bit {bit}: {bad[bit // 8 - 20 : bit // 8 + 20]!r}"
        assert load_verified(tmp_path / "best.ckpt")["global_step"] == 1
    assert capsys.readouterr().err.count("its manifest.json is damaged; skipped") == 200


def test_a_manifest_of_an_older_version_is_read(tmp_path: Path) -> None:
    """It had neither the hash of itself nor files beside the state."""
    path = save(tmp_path, 1, 0.5).with_name("manifest.json")
    manifest = json.loads(path.read_text())
    del manifest["manifest_sha256"], manifest["files"]
    path.write_text(json.dumps(manifest))
    assert load_latest(tmp_path)["global_step"] == 1


@pytest.mark.parametrize("name", ["state.ckpt", "manifest.json"])
def test_every_truncation_is_found_and_the_previous_checkpoint_used(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture
) -> None:
    """150 random lengths of each file, among them zero; then the file is gone."""
    save(tmp_path, 1, 0.5)
    path = save(tmp_path, 2, 0.4).parent / name
    good, draw = path.read_bytes(), random.Random(1)
    for length in [0, *(draw.randrange(len(good) - 1) for _ in range(149))]:
        path.write_bytes(good[:length])
        assert load_latest(tmp_path)["global_step"] == 1, f"{name} of {length} bytes"
        assert load_verified(tmp_path / "last.ckpt")["global_step"] == 1
    assert "skipped" in capsys.readouterr().err
    path.unlink()
    assert load_latest(tmp_path)["global_step"] == 1


@pytest.mark.parametrize("name", ["state.ckpt", "manifest.json"])
def test_if_all_checkpoints_are_damaged_nobody_starts_over_in_silence(tmp_path: Path, name: str) -> None:
    """find_last, find_best and loading raise; a folder where nothing was committed gives None instead."""
    for step in (1, 2):
        (save(tmp_path, step, 0.5).parent / name).write_bytes(b"")
    for look in (find_last, find_best, load_latest):
        with pytest.raises(UserError, match=r"All checkpoints in .* are damaged"):
            look(tmp_path)


SYSCALLS = ("fsync", "replace", "rename", "link", "symlink", "unlink", "rmdir", "mkdir", "open")


def kill_at(call: int, work: Callable[[], object]) -> bool:
    """Run `work` in a fork that kills itself just before its `call`-th file operation; True if it was killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        pid = os.fork()
    if pid == 0:
        try:
            _die_at(call)
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"the save itself failed before call {call}"
    return os.WIFSIGNALED(status)


def _die_at(call: int) -> None:
    counter = iter(range(1 << 30))

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **keywords: Any) -> Any:
            if next(counter) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **keywords)

        return operation

    for name in SYSCALLS:
        setattr(os, name, counted(getattr(os, name)))
    from src.run import state_file

    class Writes(state_file._HashedFile):
        write = counted(state_file._HashedFile.write)

    state_file._HashedFile = Writes  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "again"), [("one file", False), ("one file in a thread", True), ("shards", True), ("shards", False)]
)
def test_a_save_killed_at_any_point_leaves_a_whole_newest_checkpoint(tmp_path: Path, kind: str, again: bool) -> None:
    """Every write, sync, rename, link and removal of one save; then a further save heals and bounds the folder."""
    first = tmp_path / "first"
    for step, loss in [(1, 0.1), (2, 0.5), (3, 0.4)]:
        save(first, step, loss, kind=kind)
    step, calls, newest = (3 if again else 4), 0, set()
    while True:
        folder = tmp_path / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(first, folder, symlinks=True)
        killed = kill_at(calls, lambda folder=folder: save(folder, step, 0.3, kind=kind))
        state = load_latest(folder)
        newest.add(state["global_step"])
        assert is_whole(state), f"call {calls}"
        assert state["global_step"] in (3, step), f"call {calls}: the last good checkpoint is lost"
        best = find_best(folder)
        assert best is not None
        assert best.step == 1, f"call {calls}"
        assert is_whole(load_verified(folder / "best.ckpt")), f"call {calls}"
        save(folder, 5, 0.3, kind=kind)
        names = sorted(os.listdir(folder))
        assert len([name for name in names if name.startswith("step-")]) == 3, names
        assert not [path for path in folder.rglob("*") if path.name.endswith(".tmp")], f"call {calls}: {names}"
        if not killed:
            break
        calls += 1
    assert newest == {3, step}
    assert calls > 20, "the hooks were not called"


def test_200_saves_with_kills_keep_the_retention_bound(tmp_path: Path) -> None:
    """Never fewer than 2 good checkpoints once there were 2, and never more than 3 after a save that ended."""
    draw = random.Random(2)
    for step in range(1, 201):
        kind = draw.choice(KINDS)
        if step > 2 and step % 10 == 0:
            kill_at(draw.randrange(40), lambda step=step, kind=kind: save(tmp_path, step, draw.random(), kind=kind))
        else:
            save(tmp_path, step, draw.random(), kind=kind)
            count = len(list(tmp_path.glob("step-*")))
            assert min(step, 2) <= count <= 3, f"step {step}: {count} checkpoints"
        if step > 2:
            good = [path for path in tmp_path.glob("step-*/manifest.json")]
            assert len(good) >= 2, f"step {step}"
    assert is_whole(load_latest(tmp_path))


def test_a_full_disk_costs_the_save_and_nothing_else(tmp_path: Path) -> None:
    """20 limits on the file size, in a fork: an error that says so, no temporary file, the old checkpoint loads."""
    save(tmp_path, 1, 0.5)
    length = (step_folder(tmp_path, 1) / "state.ckpt").stat().st_size

    def save_on_a_full_disk(limit: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            save(tmp_path, 2, 0.4)
        except OSError as error:
            if "earlier ones are intact" in str(error) and "state.ckpt" in str(error):
                return
            raise
        raise AssertionError("the save must not succeed")

    for limit in (length * part // 20 for part in range(20)):
        assert not kill_at(-1, lambda limit=limit: save_on_a_full_disk(limit))
        assert os.listdir(step_folder(tmp_path, 2)) == [], f"limit {limit}"
        assert load_latest(tmp_path)["global_step"] == 1
    save(tmp_path, 2, 0.4)
    assert load_latest(tmp_path)["global_step"] == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_system_that_is_full_costs_the_save_and_nothing_else(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Five amounts of room that are too small for 4 MB; then there is room, and the next save needs all of it."""
    monkeypatch.setattr("tests.test_run_checkpoint_faults.SIZE", 4_000_000)
    checkpoints, filler = small_disk / "checkpoints", small_disk / "filler"
    for step, loss in [(1, 0.1), (2, 0.5), (3, 0.5)]:
        save(checkpoints, step, loss, kind=kind)
    for room in (3_900_000, 2_000_000, 500_000, 50_000, 0):
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        filler.write_bytes(bytes(free - room))
        with pytest.raises(OSError, match="No space left") as raised:
            save(checkpoints, 4, 0.3, kind=kind)
        assert raised.value.errno == errno.ENOSPC
        assert is_whole(load_latest(checkpoints))
        assert load_latest(checkpoints)["global_step"] == 3
        assert not [path for path in checkpoints.rglob("*") if path.name.endswith(".tmp")]
        filler.unlink()
    save(checkpoints, 4, 0.3, kind=kind)
    assert is_whole(load_latest(checkpoints))
    assert is_whole(load_verified(checkpoints / "best.ckpt"))


def test_the_temporary_folder_of_the_system_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename from another file system would be a copy over the last good file."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "does not exist"))
    save(tmp_path / "c", 1, 0.5)
    assert is_whole(load_latest(tmp_path / "c"))
