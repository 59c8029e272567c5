"""Several GPUs of one machine: NCCL ranks end together, which no CPU test can show."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.conftest import ROOT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices"),
]
ENDLESS = ["data=demo", "data.batch_size=8", "model.width=16", "model.hidden=16", "trainer=gpu", "strategy=ddp"]
ENDLESS += ["trainer.devices=2", "trainer.max_epochs=100000", "callbacks.early_stopping=null"]


@pytest.fixture
def running(tmp_path):
    """A run of two GPUs that has saved once: its folder, its launcher and the pids of its ranks."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", "src.train", *ENDLESS, f"hydra.run.dir={run}", f"paths.output_dir={tmp_path}"]
    with open(tmp_path / "terminal.txt", "w") as terminal:
        launcher = subprocess.Popen(command, cwd=ROOT, stdout=terminal, stderr=terminal)
    try:
        end = time.monotonic() + 120
        while not (run / "checkpoints" / "best.ckpt").exists():
            assert launcher.poll() is None, (tmp_path / "terminal.txt").read_text()
            assert time.monotonic() < end, (tmp_path / "terminal.txt").read_text()
            time.sleep(0.1)
        ranks = [json.loads((run / "logs" / f"rank-{rank}.json").read_text())["pid"] for rank in (0, 1)]
        yield run, launcher, ranks
    finally:
        launcher.kill()
        launcher.wait()


@pytest.mark.parametrize("told", ["launcher", "rank 1"])
def test_a_signal_ends_both_gpus_after_the_step_is_saved(running, told):
    run, launcher, ranks = running
    os.kill(launcher.pid if told == "launcher" else ranks[1], signal.SIGTERM)
    assert launcher.wait(60) == 143
    assert json.loads((run / "status.json").read_text())["signal"] == "SIGTERM"


def test_a_dead_rank_is_named_while_the_other_waits_on_its_gpu(running):
    run, launcher, ranks = running
    os.kill(ranks[1], signal.SIGKILL)
    assert launcher.wait(60) == 137
    assert "Rank 1 was killed by SIGKILL" in json.loads((run / "status.json").read_text())["reason"]
