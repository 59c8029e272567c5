"""A job that was asked to leave is queued again once, if that makes sense, within half a minute, and never fails."""

import json
import os
import subprocess
import sys

import pytest

from src.launch.slurm import commands
from src.launch.slurm.requeue import requeue
from src.run.manifest import Manifest, step_folder
from src.run.status import now
from tests.conftest import ROOT

LONG_AGO = "2026-01-01T00:00:00+00:00"


def stopped(folder, *, state="killed", signal="SIGUSR1", started=None, checkpoint=None):
    """A run folder as an attempt leaves it; `checkpoint` is the time of its newest commit."""
    folder.mkdir()
    status = {"state": state, "signal": signal, "started": started or now(), "exit_code": 143}
    (folder / "status.json").write_text(json.dumps(status))
    if checkpoint is not None:
        path = step_folder(folder / "checkpoints", 7) / "state.ckpt"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"state")
        Manifest(
            path=path, sha256="", bytes=5, step=7, epoch=0, monitor="val/loss", mode="min", time=checkpoint
        ).commit()
    return folder


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """`scontrol(words)` puts a command of these shell words on PATH; returns the file of its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")

    def make(words):
        (folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls.txt\n{words}\n')
        (folder / "scontrol").chmod(0o755)
        return tmp_path / "calls.txt"

    return make


@pytest.mark.parametrize("signal", ["SIGUSR1", "SIGUSR2", "SIGTERM"])
def test_a_stopped_run_is_queued_again_exactly_once(scontrol, tmp_path, capfd, signal):
    calls = scontrol("exit 0")
    requeue(stopped(tmp_path / "run", signal=signal, checkpoint=now()))
    assert calls.read_text() == "requeue 17\n"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({"signal": "SIGINT"}, "not stopped by a signal to leave"),
        ({"state": "failed", "signal": None}, "the run is failed"),
        ({"state": "finished", "signal": None}, "the run is finished"),
        ({"started": LONG_AGO}, "no new checkpoint in"),
        ({"started": "2026-02-01T00:00:00+00:00", "checkpoint": LONG_AGO}, "no new checkpoint in"),
    ],
)
def test_a_run_that_would_fare_the_same_is_left_alone_and_says_why(scontrol, tmp_path, capfd, run, words):
    calls = scontrol("exit 0")
    requeue(stopped(tmp_path / "run", **run))
    assert not calls.exists()
    note = capfd.readouterr().err
    assert note.count("\n") == 1
    assert words in note


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ({}, "preempted before its first checkpoint"),
        ({"state": "submitted", "signal": None}, "stopped before it took its folder"),
        ({"started": LONG_AGO, "checkpoint": now()}, "came further"),
    ],
)
def test_a_short_attempt_or_one_that_came_further_is_worth_another(scontrol, tmp_path, run, why):
    calls = scontrol("exit 0")
    requeue(stopped(tmp_path / "run", **run))
    assert calls.read_text() == "requeue 17\n", why


@pytest.mark.parametrize(
    ("words", "note"),
    [
        ("echo 'slurm_requeue error: Requested operation not permitted' >&2; exit 1", "operation not permitted"),
        ("exit 4", "exit code 4"),
        ("exec sleep 600", "did not answer within 1 s"),
    ],
)
def test_a_failing_or_hanging_scontrol_costs_a_note_and_keeps_the_checkpoint(
    scontrol, tmp_path, capfd, monkeypatch, words, note
):
    monkeypatch.setattr(commands, "BOUND", 1.0)
    calls = scontrol(words)
    run = stopped(tmp_path / "run", checkpoint=now())
    requeue(run)
    assert calls.read_text() == "requeue 17\n"
    warning = capfd.readouterr().err
    assert warning.count("\n") == 1
    assert note in warning
    assert (run / "checkpoints" / "step-00000007" / "state.ckpt").read_bytes() == b"state"


def test_half_a_minute_is_the_bound():
    assert commands.BOUND == 30


def test_without_scontrol_the_batch_script_still_ends_as_the_run_did(tmp_path):
    """As job.sbatch calls it: a process of its own, whose exit code the script does not look at."""
    run = stopped(tmp_path / "run", checkpoint=now())
    variables = {"PATH": "/nowhere", "SLURM_JOB_ID": "17", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "src.launch.slurm.requeue", str(run)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "there is no scontrol on this machine" in done.stderr
