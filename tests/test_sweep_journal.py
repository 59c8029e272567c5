"""The record of a sweep tells the truth after any death of its driver."""

import json
import subprocess
import sys

import pytest

from src.errors import UserError
from src.sweep.journal import append, read_jobs, read_sweep, write_sweep
from src.sweep.lock import driving
from tests.conftest import ROOT

END = {"event": "ended", "state": "finished", "exit_code": 0, "reason": None, "values": [0.5]}


def begun(sweep, number, **more):
    append(sweep, job=number, event="started", overrides=[f"seed={number}"], trial=None, **more)


def test_the_last_line_of_a_job_counts(tmp_path):
    begun(tmp_path, 0)
    begun(tmp_path, 1)
    append(tmp_path, job=0, **{**END, "state": "failed", "exit_code": 3, "reason": "diverged", "values": None})
    begun(tmp_path, 0)
    append(tmp_path, job=0, **END)
    jobs = read_jobs(tmp_path)
    assert [(job.state, job.exit_code, job.values) for job in jobs.values()] == [
        ("finished", 0, (0.5,)),
        ("running", None, None),
    ]
    assert jobs[1].overrides == ("seed=1",)


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_line_that_a_killed_driver_left_half_written_is_no_line(tmp_path, kept):
    """Cut anywhere, also before its line end alone; what is appended next is whole."""
    begun(tmp_path, 0)
    begun(tmp_path, 1)
    path = tmp_path / "jobs.jsonl"
    first, second = path.read_text().splitlines(keepends=True)
    path.write_text(first + second[:kept])
    append(tmp_path, job=0, **END)
    jobs = read_jobs(tmp_path)
    assert jobs[0].state == "finished"
    assert (1 in jobs) == (kept == -1)  # without its line end it is whole all the same


def test_a_folder_without_a_record_is_no_sweep(tmp_path):
    assert read_jobs(tmp_path) == {}
    with pytest.raises(UserError, match=r"is no sweep: it has no sweep\.json"):
        read_sweep(tmp_path)
    write_sweep(tmp_path, {"kind": "grid"})
    assert read_sweep(tmp_path) == {"kind": "grid"}


def test_a_second_driver_is_refused_while_the_first_lives_and_not_longer(tmp_path):
    """The first is another process, which then dies without a chance to unlock."""
    code = (
        "import sys; from pathlib import Path; from src.sweep.lock import driving\n"
        "with driving(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, **pipes) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"is being driven by process {first.pid} on"), driving(tmp_path):
            pass
        first.kill()
    with driving(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] != first.pid
