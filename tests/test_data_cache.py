"""The token cache under bit flips, kills, races and full or forbidden folders."""

import logging
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from src.data import cache
from src.data.cache_files import Damaged, TokenCache, open_cache
from src.errors import UserError


def content(rows: int = 20) -> TokenCache:
    draw = np.random.RandomState(0)
    lengths = draw.randint(0, 9, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    numbers = draw.randint(0, 5, offsets[-1]).astype(np.int32)
    labels = draw.randint(0, 2, rows)
    return TokenCache(list("abcdé"), numbers, offsets, labels, np.arange(rows, dtype=np.uint64), {"shortened": 1})


def assert_same(found: TokenCache, expected: TokenCache) -> None:
    assert found.words == expected.words
    assert found.notes == expected.notes
    for name in ("numbers", "offsets", "labels", "hashes"):
        assert getattr(found, name).dtype == getattr(expected, name).dtype
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def forbidden() -> TokenCache:
    raise AssertionError("a good cache was built again")


def test_a_cache_is_built_once_and_then_only_mapped(tmp_path: Path) -> None:
    built = cache.obtain(tmp_path, "key", content)
    assert_same(built, content())
    opened = cache.obtain(tmp_path, "key", forbidden)
    assert_same(opened, content())
    assert isinstance(opened.numbers, np.memmap)
    assert not opened.numbers.flags.writeable


def test_another_process_maps_the_files_instead_of_receiving_the_arrays(tmp_path: Path) -> None:
    opened = cache.obtain(tmp_path, "key", lambda: content(100_000))
    sent = pickle.dumps(opened)
    assert len(sent) < 1000
    assert isinstance(pickle.loads(sent).numbers, np.memmap)


def test_every_single_flipped_bit_is_found(tmp_path: Path) -> None:
    """3,000 flips over all files, the manifest included; a plain np.load would miss nearly all of them."""
    cache.obtain(tmp_path, "key", content)
    folder = tmp_path / "key"
    files = sorted(folder.iterdir())
    assert len(files) == 6
    draw = random.Random(0)
    missed = []
    with ExitStack() as stack:
        opened = [stack.enter_context(open(path, "r+b", buffering=0)).fileno() for path in files]
        for number in range(3000):
            file = opened[number % 6]
            at = draw.randrange(os.fstat(file).st_size)
            byte = os.pread(file, 1, at)
            os.pwrite(file, bytes([byte[0] ^ 1 << draw.randrange(8)]), at)
            try:
                open_cache(folder)
                missed.append((files[number % 6].name, at))
            except Damaged:
                pass
            os.pwrite(file, byte, at)
    assert missed == []
    assert_same(open_cache(folder), content())


@pytest.mark.parametrize("name", ["numbers.npy", "words.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["empty", "cut", "longer", "missing", "folder"])
def test_a_damaged_cache_is_built_again_with_one_line(
    name: str, harm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.obtain(tmp_path, "key", content)
    path = tmp_path / "key" / name
    before = path.read_bytes()
    path.unlink()
    if harm == "folder":
        path.mkdir()
    elif harm != "missing":
        path.write_bytes({"empty": b"", "cut": before[:-1], "longer": before + b" "}[harm])
    with caplog.at_level(logging.INFO):
        assert_same(cache.obtain(tmp_path, "key", content), content())
    assert len(caplog.messages) == 1
    assert "is damaged" in caplog.text
    assert name in caplog.text
    assert_same(cache.obtain(tmp_path, "key", forbidden), content())


def test_a_mapped_cache_outlives_its_replacement(tmp_path: Path) -> None:
    opened = cache.obtain(tmp_path, "key", content)
    (tmp_path / "key" / "words.json").unlink()
    cache.obtain(tmp_path, "key", content)
    assert_same(opened, content())


BUILDER = """
import sys
from pathlib import Path
from src.data import cache
from tests.test_data_cache import content
print("ready", flush=True)
for number in range(100_000):
    cache.obtain(Path(sys.argv[1]), f"key{number}", content)
"""


def test_a_killed_build_leaves_nothing_that_is_mistaken_for_a_cache(tmp_path: Path) -> None:
    """SIGKILL at random times; whatever folder then bears a key must open and be complete."""
    draw = random.Random(0)
    opened = left_over = 0
    for number in range(8):
        folder = tmp_path / str(number)
        with subprocess.Popen([sys.executable, "-c", BUILDER, folder], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            # However busy the machine is, the kill comes when two are built and a later one is under way.
            while not (folder / "key1").exists():
                assert process.poll() is None
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
        for path in folder.glob("key*"):
            if ".tmp-" in path.name:
                left_over += 1
                cache.obtain(folder, path.name.split(".")[0], content)
                assert not path.exists()
            elif path.is_dir():
                assert_same(open_cache(path), content())
                opened += 1
    assert opened > 8
    assert left_over > 0, "no kill hit a build; the test has to kill at better times"


RACER = """
import sys, time
from pathlib import Path
from src.data import cache
from tests.test_data_cache import content
def build():
    with open(Path(sys.argv[1], "builds"), "a") as file:
        file.write("built\\n")
    time.sleep(0.3)
    return content()
assert len(cache.obtain(Path(sys.argv[1]), "key", build).labels) == 20
"""


def test_processes_that_need_the_same_cache_build_it_once(tmp_path: Path) -> None:
    racers = [subprocess.Popen([sys.executable, "-c", RACER, tmp_path]) for _ in range(4)]
    assert [racer.wait() for racer in racers] == [0] * 4
    assert (tmp_path / "builds").read_text() == "built\n"


def test_a_failing_build_leaves_no_trace_and_frees_the_lock(tmp_path: Path) -> None:
    def fail() -> TokenCache:
        raise UserError("row 3 is bad")

    for _ in range(2):
        with pytest.raises(UserError, match="row 3"):
            cache.obtain(tmp_path, "key", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]


def test_a_folder_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"data.cache_dir .*file.* cannot be written"):
        cache.obtain(tmp_path / "file", "key", content)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_forbidden_folder_is_refused_unless_it_holds_the_cache(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        cache.obtain(tmp_path, "key", content)
    tmp_path.chmod(0o700)
    cache.obtain(tmp_path, "key", content)
    tmp_path.chmod(0o500)
    assert_same(cache.obtain(tmp_path, "key", forbidden), content())


def test_a_full_disk_is_the_users_error_and_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("src.data.cache_files.np.save", full)
    with pytest.raises(UserError, match="No space left"):
        cache.obtain(tmp_path, "key", content)
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]
