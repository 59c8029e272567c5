"""A submitted run is whole in its folder before Slurm hears of it; what Slurm refuses is a sentence."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from src.check.rules_launcher import time_in_seconds
from src.errors import UserError
from src.launch.compose import plain
from src.launch.preflight import preflight
from src.launch.slurm.allocation import check_allocation
from src.launch.slurm.commands import find_sbatch
from src.launch.slurm.submission import submit
from src.run.folder import RunFolder
from tests.conftest import SMALL, door

JOB = ["data=demo", "launcher=sbatch", "trainer.accelerator=cpu"]


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """`fakes(sbatch="echo 17")` puts these commands first on PATH; each adds its arguments to calls.txt."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(**commands):
        for name, words in commands.items():
            (folder / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/calls.txt\n{words}\n')
            (folder / name).chmod(0o755)
        return tmp_path / "calls.txt"

    return make


def claimed(compose, folder, *overrides):
    """A config and the folder it is to be submitted from."""
    return plain(compose(*JOB, f"+paths.run_dir={folder}", *overrides)), RunFolder.claim(folder)


def test_all_that_the_job_reads_is_there_when_sbatch_is_called(compose, fakes, tmp_path):
    folder = tmp_path / "run"
    calls = fakes(sbatch=f"cp {folder}/config.yaml {folder}/status.json {tmp_path}; echo '17;a_cluster'")
    config, run = claimed(compose, folder)
    job = submit(config, run)
    assert job.number == "17"
    assert calls.read_text() == f"sbatch --parsable {folder}/job.sbatch\n"
    frozen = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert frozen == {**config, "resume": "auto"}
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["attempt"]) == ("submitted", 0)
    assert (folder / "job_id.txt").read_text() == "17\n"


def test_the_job_takes_the_folder_over_as_its_first_attempt(compose, fakes, tmp_path):
    """Another process can lock it when sbatch returns, and the submission counts as no attempt."""
    fakes(sbatch="echo 17")
    submit(*claimed(compose, tmp_path / "run"))
    code = (
        "import sys; from src.run.folder import RunFolder; from src.run.files import read_json; "
        "run = RunFolder.claim(sys.argv[1], resume=True); print(read_json(run.status)['attempt'])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "run"], capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


def test_a_refusal_by_slurm_is_a_sentence_and_the_runs_status(compose, fakes, tmp_path):
    fakes(sbatch="echo 'sbatch: error: invalid partition specified: night' >&2; exit 1")
    with pytest.raises(
        UserError, match=r"sbatch refused the job: invalid partition specified: night\. See .*job\.sbatch"
    ):
        submit(*claimed(compose, tmp_path / "run", "launcher.partition=night"))
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["exit_code"]) == ("failed", 2)
    assert "night" in status["reason"]


def test_a_dry_run_writes_what_would_be_submitted_and_submits_nothing(fakes, tmp_path):
    calls = fakes(sbatch="echo 17")
    folder = tmp_path / "run"
    done = door("train", *SMALL, "launcher=sbatch", "dry_run=true", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    assert not calls.exists()
    script = (folder / "job.sbatch").read_text()
    assert script in done.stdout
    assert done.stdout.splitlines()[-1] == f"sbatch {folder / 'job.sbatch'}"
    assert f"src.launch.worker {folder}\n" in script
    frozen = yaml.safe_load((folder / "config.yaml").read_text())
    assert (frozen["model"]["width"], frozen["dry_run"]) == (16, False)
    assert json.loads((folder / "status.json").read_text())["state"] == "prepared"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["launcher.nodes=2"], r"launcher.nodes \(2\) must be 1, as trainer.num_nodes \(1\) says"),
        (["launcher.tasks_per_node=4"], r"launcher.tasks_per_node \(4\) must be 1, as trainer.devices \(1\) says"),
        (["launcher.gpus_per_node=1"], r"launcher.gpus_per_node \(1\) must be 0, as trainer.accelerator \(cpu\) says"),
        (["launcher.gpu_type=h100"], r"launcher.gpu_type \(h100\) needs trainer=gpu"),
        (["strategy=ddp", "trainer.devices=auto"], r"trainer.devices \(auto\) must be a number"),
        (["trainer.accelerator=auto"], r"trainer.accelerator \(auto\) would be decided here"),
        (["launcher.time=3"], r"launcher.time \(3\) must be longer than launcher.signal_seconds \(120\)"),
        (["launcher.time=soon"], r"launcher.time \(soon\) must be minutes, hours:minutes:seconds or days-"),
        (["launcher.partition='a\nexit'"], r"launcher.partition \('a\\nexit'\) must be one word"),
        (["launcher.cpus_per_task=0"], r"launcher.cpus_per_task \(0\) must be a whole number >= 1"),
    ],
)
def test_a_job_that_does_not_fit_its_run_is_refused(compose, overrides, words):
    with pytest.raises(UserError, match=words):
        preflight(compose(*JOB, *overrides), run_dir="<run folder>")


def test_a_gpu_job_is_checked_on_a_machine_without_gpus(compose):
    """precision=auto takes the bf16 units that the job's GPUs have, whatever this machine has."""
    config = preflight(compose("data=demo", "launcher=sbatch", "trainer=gpu"), run_dir="<run folder>")
    assert config["trainer"]["precision"] == "bf16-mixed"
    assert config["launcher"]["gpus_per_node"] == 1


@pytest.mark.parametrize(
    ("time", "seconds"),
    [(90, 5400), ("1:30", 90), ("2:00:00", 7200), ("1-12", 129_600), ("1-0:30", 88_200), ("1-0:0:5", 86_405)]
    + [(wrong, None) for wrong in ("", "1d", "1:2:3:4", "-3", "1-", "1.5")],
)
def test_a_time_limit_is_read_as_slurm_reads_it(time, seconds):
    assert time_in_seconds(time) == seconds


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SLURM_NNODES": "1", "SLURM_NTASKS": "4"}, None),
        ({"SLURM_NNODES": "1", "SLURM_NTASKS": "2"}, r"SLURM_NTASKS=2.*= 4"),
        ({"SLURM_NNODES": "2", "SLURM_NTASKS": "4"}, r"SLURM_NNODES=2.*num_nodes = 1"),
    ],
)
def test_an_allocation_of_another_size_is_refused(variables, words):
    config = {"trainer": {"num_nodes": 1, "devices": 4}}
    if words is None:
        check_allocation(config, variables)
        return
    with pytest.raises(UserError, match=words):
        check_allocation(config, variables)


def test_without_sbatch_the_user_learns_of_the_dry_run(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=r"finds no sbatch on this machine.*dry_run=true"):
        find_sbatch()
