"""On a real Slurm of one node: two processes, a preemption, the next turn, sweeps whose jobs or drivers end early."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from src.sweep.journal import read_jobs
from tests.conftest import ROOT, SMALL, door

CLUSTER = Path(__file__).parent / "slurm" / "cluster.sh"
MISSING = [name for name in ("sbatch", "slurmctld", "slurmd", "munged") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"no {MISSING}: `tests/slurm/cluster.sh install` as root brings Slurm"),
    pytest.mark.skipif(os.getuid() != 0, reason="slurmd starts jobs as root only"),
]
# Clocks, and what a process knows of itself alone.
OF_THE_MACHINE = ("time/", "throughput/")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """The environment of a Slurm that lives as long as this test session."""
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([CLUSTER, "start", folder, str(two_free_ports())], check=True)
    yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PYTHONPATH": str(ROOT)}
    subprocess.run([CLUSTER, "stop", folder], check=True)


def two_free_ports():
    while True:
        with ExitStack() as stack:
            first, second = (stack.enter_context(socket.socket()) for _ in range(2))
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@pytest.fixture
def train(slurm):
    """`train(...)` starts a door that waits for its jobs; what still runs after the test is stopped with it."""
    with ExitStack() as started:

        def start(*arguments, sweep=False):
            command = [sys.executable, "-m", "src.train", *["-m"] * sweep, *SMALL, "hydra/launcher=slurm", *arguments]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            process = subprocess.Popen([*command, "hydra.launcher.poll_seconds=0.3"], cwd=ROOT, env=slurm, **pipes)
            started.callback(process.wait)
            started.callback(process.kill)
            return process

        yield start


def until(question, *, of=None, seconds=120):
    """Ask five times a second until the answer is true."""
    end = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < end, "it did not happen"
        assert of is None or of.poll() is None, of.communicate()
        time.sleep(0.2)
    return answer


def measured(folder):
    """metrics.csv without clocks."""
    with open(folder / "metrics.csv", newline="") as file:
        return [{k: v for k, v in row.items() if not k.startswith(OF_THE_MACHINE)} for row in csv.DictReader(file)]


def test_a_preempted_run_of_two_processes_ends_as_if_nothing_had_happened(slurm, train, tmp_path):
    """Signal, save, requeue, second turn; and the same run on this machine, without Slurm or interruption."""
    long = ["strategy=ddp", "trainer.devices=2", "trainer.max_epochs=40", "callbacks.early_stopping=null"]
    folder = tmp_path / "run"
    waiting = train(*long, f"hydra.run.dir={folder}", f"paths.output_dir={tmp_path}")
    until(lambda: list(folder.glob("checkpoints/step-*/manifest.json")), of=waiting)
    job = (folder / "job_id.txt").read_text().strip()
    subprocess.run(["scancel", "--signal=USR1", job], env=slurm, check=True)
    reference = door("train", *SMALL, *long, f"hydra.run.dir={tmp_path / 'alone'}", f"paths.output_dir={tmp_path}")
    assert reference.returncode == 0, reference.stderr
    output, errors = waiting.communicate(timeout=120)
    log = (folder / "logs" / f"slurm-{job}.log").read_text()
    assert waiting.returncode == 0, errors + log
    assert output.splitlines()[-1] == f"job {job}  {folder}"
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["attempt"]) == ("finished", 2)
    assert log.count("Asked to end after step") == 1
    assert (folder / "logs" / "rank-1.log").read_text().count("rank 1 of 2") == 2
    assert measured(folder) == measured(tmp_path / "alone")
    assert scores_of(folder) == scores_of(tmp_path / "alone")


def scores_of(folder):
    result = json.loads((folder / "result.json").read_text())
    return {name: value for name, value in result.items() if name.startswith(("val/", "test/", "steps", "best_"))}


def test_a_sweep_tells_how_each_of_its_jobs_ended(slurm, train, tmp_path):
    """One finishes, one diverges, one is killed so that it can say nothing; the waiting ends with the first failure."""
    sweep = tmp_path / "sweep"
    folders = [f"hydra.sweep.dir={sweep}", f"paths.output_dir={tmp_path}"]
    driver = train("optimizer.lr=1e-3,1e30,2e-3", "trainer.max_epochs=12", *folders, sweep=True)
    victim = sweep / "2"
    until((victim / "logs" / "rank-0.json").exists, of=driver)
    os.kill(json.loads((victim / "logs" / "rank-0.json").read_text())["pid"], signal.SIGKILL)
    _output, errors = driver.communicate(timeout=120)
    assert driver.returncode == 3, errors
    assert errors.count("Training diverged") >= 1
    assert f"({victim}): ended without a word, FAILED to Slurm" in errors
    assert [(record.state, record.exit_code) for record in read_jobs(sweep).values()] == [
        ("finished", 0),
        ("failed", 3),
        ("killed", 1),
    ]
    assert "val/loss" in json.loads((sweep / "0" / "result.json").read_text())
    assert "Training diverged" in (sweep / "1" / "report.html").read_text()


def test_the_jobs_of_a_killed_driver_go_on_and_the_next_one_waits_for_them(slurm, train, tmp_path):
    """Each is submitted and trained once."""
    sweep = tmp_path / "sweep"
    words = ["seed=1,2", f"hydra.sweep.dir={sweep}", f"paths.output_dir={tmp_path}"]
    first = train(*words, sweep=True)
    until((sweep / "1" / "job_id.txt").exists, of=first)
    first.kill()
    first.communicate()
    before = [(sweep / n / "job_id.txt").read_text() for n in "01"]
    second = train(*words, "resume=auto", sweep=True)
    _output, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert [record.state for record in read_jobs(sweep).values()] == ["finished"] * 2
    assert [json.loads((sweep / str(n) / "status.json").read_text())["attempt"] for n in range(2)] == [1, 1]
    assert [(sweep / n / "job_id.txt").read_text() for n in "01"] == before


def test_a_search_goes_on_where_its_killed_driver_left_it(slurm, train, tmp_path):
    """The trial that was running is waited for, told to the study, and followed by those that are missing."""
    sweep = tmp_path / "sweep"
    words = ["hparams_search=bilstm_random", "hydra.sweeper.space={optimizer.lr: 'log(1e-3, 1e-2)'}"]
    words += ["hydra.sweeper.n_trials=2", "hydra.launcher.parallel=1"]
    words += [f"hydra.sweep.dir={sweep}", f"paths.output_dir={tmp_path}"]
    first = train(*words, sweep=True)
    until((sweep / "0" / "job_id.txt").exists, of=first)
    first.kill()
    first.communicate()
    second = train(*words, "resume=auto", sweep=True)
    _output, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    records = read_jobs(sweep)
    assert [(number, record.state) for number, record in records.items()] == [(n, "finished") for n in range(2)]
    assert [json.loads((sweep / str(n) / "status.json").read_text())["attempt"] for n in range(2)] == [1, 1]
    assert len({(sweep / str(n) / "job_id.txt").read_text() for n in range(2)}) == 2
    scores = {str(n): scores_of(sweep / str(n))["val/loss"] for n in range(2)}
    with open(sweep / "summary.csv", newline="") as file:
        assert {row["job"]: float(row["val/loss"]) for row in csv.DictReader(file)} == pytest.approx(scores)
