"""The right to look at test, claimed by several processes at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from src.errors import UserError
from src.run.ledger import looking, read_ledger, record_test
from src.run.result import update_result
from tests.conftest import ROOT

# Looks once, as measure_test does; prints what came of it.
LOOK = """
import sys, time
from pathlib import Path
from src.errors import UserError
from src.run.ledger import looking, record_test
folder = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    with looking(folder, again=False):
        time.sleep(0.1)
        record_test(folder, arguments=["a"], checkpoint_sha256=None, split="test", metrics={})
    print("looked")
except UserError as error:
    print("refused:", error)
"""


def test_of_processes_that_look_at_once_one_does(tmp_path: Path) -> None:
    """Each of them found an empty ledger before the first one wrote its entry."""
    command = [sys.executable, "-c", LOOK, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    started = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=60)[0] for process in started]
    assert sorted(end.split(":")[0].strip() for end in ends) == ["looked", "refused", "refused", "refused"]
    assert len(read_ledger(tmp_path)) == 1


def test_the_right_ends_with_its_block_and_does_not_overrule_the_ledger(tmp_path: Path) -> None:
    for again, entries in ((False, 0), (True, 1)):
        with looking(tmp_path, again=again):
            assert len(read_ledger(tmp_path)) == entries
            record_test(tmp_path, arguments=[], checkpoint_sha256=None, split="test", metrics={})
    with pytest.raises(UserError, match="again=true"), looking(tmp_path, again=False):
        pass


def test_what_is_to_be_forgotten_leaves_the_result(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    update_result(path, {"a/x": 1, "a/y": 2, "b": 3})
    update_result(path, {"a/x": 4}, forget=("a/",))
    assert json.loads(path.read_text()) == {"b": 3, "a/x": 4}
