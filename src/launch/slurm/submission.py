"""Hands a checked run to Slurm: everything the job reads is in its folder before sbatch is called."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig

from src.errors import UserError
from src.launch.slurm import commands
from src.launch.slurm.script import SCRIPT, sbatch_script
from src.run.files import read_json, write_text
from src.run.folder import RunFolder
from src.run.status import FAILED, PREPARED, RUNNING, SUBMITTED, now, write_status

LAUNCHER = "hydra_plugins.one_recipe.Slurm"
NUMBER = "job_id.txt"


class Job(NamedTuple):
    """A submitted run: Slurm's number of the job, and its folder."""

    number: str
    run: RunFolder


def submit_run(config: dict[str, Any], run: RunFolder) -> Job | None:
    """Submit the run, whose folder is claimed, and wait for its end where hydra/launcher=slurm starts a single one.

    launcher=sbatch alone waits for none; the jobs of a sweep do not come here (see src/launch/slurm/pool.py).

    Raises:
        UserError: Slurm refused the job.
        RankFailed: the job that was waited for has failed.
    """
    job = submit(config, run)
    hydra = HydraConfig.get()
    if job is not None and hydra.launcher._target_ == LAUNCHER:
        from src.launch.slurm.waiting import wait

        failure = wait([job], poll_seconds=hydra.launcher.poll_seconds)[job]
        if failure is not None:
            raise failure
    return job


def submit(config: dict[str, Any], run: RunFolder, *, command: Sequence[str] | None = None) -> Job | None:
    """Freeze the checked `config` into the folder `run`, which is claimed, and submit it; a dry run only writes.

    command: what makes this run, if that is not the command line of this process.

    Raises:
        UserError: Slurm refused the job.
    """
    script = run.path / SCRIPT
    # Whenever the job is started, for the first time or again, the folder is the run.
    run.write_config({**config, "resume": "auto", "dry_run": False})
    run.write_command(list(command or ["python", "-m", "src.train", *sys.argv[1:]]), config=config)
    text = sbatch_script(config, folder=run.path.absolute(), python=sys.executable, directory=Path.cwd())
    write_text(script, text)
    if config["dry_run"]:
        hand_over(run, state=PREPARED)
        print(f"{text}\nsbatch {script}", flush=True)
        return None
    # Before sbatch: the job may start at once, and takes the folder for itself then.
    hand_over(run, state=SUBMITTED)
    try:
        number = commands.sbatch(script)
    except UserError as error:
        hand_over(run, state=FAILED, reason=str(error), exit_code=error.exit_code, ended=now())
        raise
    write_text(run.path / NUMBER, f"{number}\n")
    print(f"job {number}  {run.path}", flush=True)
    return Job(number, run)


def hand_over(run: RunFolder, *, state: str, **outcome: Any) -> None:
    """Leave the folder to the job: this process was no attempt of the run."""
    before = read_json(run.status) or {}
    attempts = before["attempt"] - (before["state"] == RUNNING)  # claiming the folder has counted as one
    if attempts:
        outcome["first_started"] = before["first_started"]
    write_status(run.status, state=state, submitted=now(), attempt=attempts, **outcome)
    run.release()
