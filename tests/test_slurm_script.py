"""The batch script asks for what the trainer says, and starts the frozen run and nothing else."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from src.launch.compose import plain
from src.launch.slurm.script import sbatch_script

GOLDEN = Path(__file__).parent / "golden"
# On GPUs, with everything that can be said; and the least.
LARGE = shlex.split("""
    launcher=sbatch trainer.accelerator=gpu trainer.devices=8 trainer.num_nodes=4 launcher.gpu_type=h100
    launcher.cpus_per_task=12 launcher.memory=900G launcher.time=1-12:00:00 launcher.partition=large
    launcher.account=lab launcher.qos=long launcher.constraint="'ib&nvme'" launcher.signal_seconds=300
""")
SCRIPTS = {
    "gpus": LARGE,
    "two_processes": ["launcher=sbatch", "trainer.accelerator=cpu", "trainer.devices=2", "launcher.time=90"],
    "no_requeue": ["hydra/launcher=slurm", "trainer.accelerator=cpu", "launcher.requeue=false"],
}


def written(compose, overrides, folder="/outputs/train/2026-11-22_12-00-00_bilstm_0a1b2c3d"):
    """The script for fixed paths, so that it reads the same on every machine."""
    config = plain(compose(*overrides))
    return sbatch_script(
        config,
        folder=Path(folder),
        python="/venv/bin/python",
        directory=Path("/home/me/project"),
        project=Path("/project"),
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_is_the_golden_one(compose, name):
    """A wanted change of the script is seen in review: `pytest` shows the difference, the file is edited by hand."""
    assert written(compose, SCRIPTS[name]) == (GOLDEN / f"{name}.sbatch").read_text()


def test_every_golden_script_has_its_settings():
    assert {path.stem for path in GOLDEN.glob("*.sbatch")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_can_read_it(name):
    subprocess.run(["bash", "-n", GOLDEN / f"{name}.sbatch"], check=True)


def test_a_path_with_blanks_and_percent_signs_stays_one_path(compose, tmp_path):
    """The words that the worker gets are the folder, whatever it is called; Slurm's own % is written twice."""
    folder = tmp_path / "a run" / "50% $HOME 'x'"
    text = written(compose, SCRIPTS["no_requeue"], folder=str(folder))
    assert f"--output='{tmp_path}/a run/50%%" in text
    seen = run_with_fakes(text, tmp_path, srun='for word in "$@"; do echo "$word"; done')
    assert seen.stdout.splitlines()[-1] == str(folder)


@pytest.mark.parametrize("code", [0, 2, 137, 143])
def test_the_script_ends_as_srun_does_and_asks_for_a_requeue_after_143_alone(compose, tmp_path, code):
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "python").chmod(0o755)
    text = written(compose, SCRIPTS["two_processes"], folder="/run").replace("/venv/bin/python", f"{tmp_path}/python")
    seen = run_with_fakes(text, tmp_path, srun=f"exit {code}")
    assert seen.returncode == code
    assert seen.stdout.split() == (["-m", "src.launch.slurm.requeue", "/run"] if code == 143 else [])


def run_with_fakes(text, tmp_path, *, srun):
    """The script's end where `srun` is a few words of shell."""
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    (fakes / "srun").write_text(f"#!/bin/sh\n{srun}\n")
    (fakes / "srun").chmod(0o755)
    (tmp_path / "job.sbatch").write_text(text)
    variables = {**os.environ, "PATH": f"{fakes}:{os.environ['PATH']}"}
    bash = shutil.which("bash")
    return subprocess.run([bash, tmp_path / "job.sbatch"], capture_output=True, text=True, env=variables)
