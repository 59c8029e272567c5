"""The run folder: whole files, one run per folder, unique names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from src.errors import UserError
from src.run.files import read_json, replacing, short_id, write_json, write_text
from src.run.folder import RunFolder, run_name
from src.run.yaml_text import to_yaml

ROOT = Path(__file__).resolve().parents[1]


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    """An error inside the block keeps the previous content."""
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail_in_the_middle() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail_in_the_middle()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_json_is_strict_and_damaged_json_reads_as_none(tmp_path: Path) -> None:
    """NaN is refused when written; half a file, a list and no file all read as None."""
    path = tmp_path / "a.json"
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"loss": float("nan")})
    assert read_json(path) is None
    for text in ('{"a": 1', "[1]", ""):
        path.write_text(text)
        assert read_json(path) is None, text


def test_text_that_utf8_cannot_hold_is_still_written(tmp_path: Path) -> None:
    """A lone surrogate (from an odd file name) does not stop a run from recording itself."""
    write_text(tmp_path / "a.txt", "x\ud800y")
    assert (tmp_path / "a.txt").read_text() == "x?y"


def test_short_ids_are_8_hexadecimal_characters_and_do_not_repeat() -> None:
    """1,000 draws: a repeat among 2^32 has a chance of 1 in 8,600."""
    ids = {short_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(name) == 8 and int(name, 16) >= 0 for name in ids)


CLAIM = """
import sys
from src.run.folder import RunFolder, run_name
from src.errors import UserError
sys.stdin.readline()  # all start together
try:
    folder = RunFolder.claim(sys.argv[1] or sys.argv[2] + "/" + run_name("bilstm"))
    print(folder.path, flush=True)
except UserError as error:
    print("refused:", error, flush=True)
sys.stdin.readline()
"""


def _claim_at_once(count: int, path: str, root: Path) -> list[str]:
    """What `count` processes print that are let go at the same moment and live until all have answered."""
    command = [sys.executable, "-c", CLAIM, path, str(root)]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) for _ in range(count)]
    try:
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [process.stdout.readline().strip() for process in started if process.stdout]
    finally:
        for process in started:
            process.communicate("end\n")


def test_20_processes_started_at_once_get_20_folders(tmp_path: Path) -> None:
    """Names differ by their id, not by the clock, and every claim succeeds."""
    answers = _claim_at_once(20, "", tmp_path)
    assert len(set(answers)) == 20, answers
    assert {Path(answer) for answer in answers} == set(tmp_path.iterdir())


def test_of_8_processes_that_want_one_folder_exactly_one_gets_it(tmp_path: Path) -> None:
    """The others are refused in a sentence that names the folder."""
    path = tmp_path / "run"
    answers = _claim_at_once(8, str(path), tmp_path)
    assert sorted(answer.startswith("refused:") for answer in answers) == [False] + [True] * 7, answers
    assert all(str(path) in answer for answer in answers)


def test_a_folder_with_a_run_is_refused_and_the_message_names_the_way_out(tmp_path: Path) -> None:
    """Also when that run has ended; resume=True takes it then, as the next attempt."""
    first = RunFolder.claim(tmp_path / "run")
    with pytest.raises(UserError, match=r"already holds a run.*resume=auto"):
        RunFolder.claim(tmp_path / "run")
    with pytest.raises(UserError, match=rf"in use by process {os.getpid()}"):
        RunFolder.claim(tmp_path / "run", resume=True)
    status = json.loads(first.status.read_text())
    write_json(first.status, {**status, "state": "failed"})
    first.release()
    second = RunFolder.claim(tmp_path / "run", resume=True)
    again = json.loads(second.status.read_text())
    assert (again["state"], again["attempt"], again["first_started"]) == ("running", 2, status["started"])
    second.release()


def test_a_killed_run_can_be_resumed_at_once(tmp_path: Path) -> None:
    """SIGKILL leaves `running` in status.json; the lock and the process are gone, so the folder is free."""
    code = "import os, sys; from src.run.folder import RunFolder; RunFolder.claim(sys.argv[1]); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], cwd=ROOT).returncode == -9
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "running"
    folder = RunFolder.claim(tmp_path / "run", resume=True)
    assert json.loads(folder.status.read_text())["attempt"] == 2
    folder.release()


def test_a_folder_held_by_another_process_cannot_be_resumed(tmp_path: Path) -> None:
    """Even if status.json is lost, the lock says so."""
    holder = subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(tmp_path / "run"), ""],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write("go\n")
    holder.stdin.flush()
    holder.stdout.readline()
    (tmp_path / "run" / "status.json").unlink()
    try:
        with pytest.raises(UserError, match="in use by"):
            RunFolder.claim(tmp_path / "run", resume=True)
    finally:
        holder.communicate("end\n")


@pytest.mark.parametrize("name", ["", "a\nb", "a\0b", "a\rb", "\x1b[31m"])
def test_names_with_control_characters_are_refused(tmp_path: Path, name: str) -> None:
    """They break command.txt, logs and shells."""
    with pytest.raises(UserError, match="without line breaks"):
        RunFolder(str(tmp_path / name) if name else "")


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    """The user learns the path, not a traceback."""
    (tmp_path / "run").write_text("I am a file")
    with pytest.raises(UserError, match="cannot be written"):
        RunFolder.claim(tmp_path / "run")


def test_every_file_of_a_run_lies_in_its_folder(tmp_path: Path) -> None:
    """And no two of them share a name."""
    folder = RunFolder(tmp_path / run_name("bilstm"))
    paths = [value for name, value in vars(folder).items() if name not in ("path", "_lock")]
    assert len(paths) == len(set(paths)) == 14
    assert all(folder.path in path.parents for path in paths)


CONFIG = {
    "seed": 0,
    "lr": 1e-05,
    "text": ["1e-3", "yes", "null", "0x10", "é ü\nnext", "${paths.x}", "1_000", "12:30"],
    "none": None,
    "nested": {"a": [1, 2.5, True, {"b": []}]},
}


def test_config_reads_back_equal_through_pyyaml_and_omegaconf() -> None:
    """Texts that one of the two would take for a number stay texts, 1e-05 stays a number."""
    from omegaconf import OmegaConf

    text = to_yaml(CONFIG)
    assert yaml.safe_load(text) == CONFIG
    assert OmegaConf.to_container(OmegaConf.create(text)) == CONFIG
    assert list(yaml.safe_load(text)) == list(CONFIG)
