"""The batch script of a run: what it asks Slurm for, and the one command that starts a process per device."""

import shlex
from pathlib import Path
from typing import Any

from src.launch.compose import CONFIG_FOLDER

SCRIPT = "job.sbatch"
PROJECT = CONFIG_FOLDER.parent
# Lines that are left out where the setting is null.
OPTIONAL = {
    "memory": "mem",
    "time": "time",
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
}
BODY = """
# All there is to know about the run is in its folder: later changes of conf/ or of a command line change nothing.
export PYTHONPATH={project}${{PYTHONPATH:+:$PYTHONPATH}}
srun --cpus-per-task={cpus_per_task} --kill-on-bad-exit=1 {python} -m src.launch.worker {folder}
code=$?
"""
# The script, not a rank, asks for the next turn: by then every rank has ended and all files are written, and it can
# happen once only. `scancel` ends this script too, so a cancelled job stays cancelled.
REQUEUE = """\
# 143: a signal asked the run to end, and it has.
if [ "$code" = 143 ]; then {python} -m src.launch.slurm.requeue {folder}; fi
"""


def sbatch_script(
    config: dict[str, Any], *, folder: Path, python: str, directory: Path, project: Path = PROJECT
) -> str:
    """What `sbatch` takes for the run frozen in `folder`, an absolute path.

    python: the interpreter; directory: where relative paths of the config begin; project: what holds `src`.
    """
    launcher = config["launcher"]
    options = {
        "job-name": "/".join(folder.parts[-2:]),
        "nodes": launcher["nodes"],
        "ntasks-per-node": launcher["tasks_per_node"],
        "cpus-per-task": launcher["cpus_per_task"],
        "gpus-per-node": gpus(launcher),
        **{option: launcher[key] for key, option in OPTIONAL.items()},
        "chdir": directory,
        # %j is the job's number; any other % of the path is written twice.
        "output": str(folder / "logs").replace("%", "%%") + "/slurm-%j.log",
        # To the processes of srun only: the script has to outlive them.
        "signal": f"USR1@{launcher['signal_seconds']}",
    }
    lines = [f"#SBATCH --{option}={quoted(value)}" for option, value in options.items() if value is not None]
    # One log over all attempts.
    lines += ["#SBATCH --open-mode=append", f"#SBATCH --{'' if launcher['requeue'] else 'no-'}requeue"]
    body = BODY + (REQUEUE if launcher["requeue"] else "")
    words = {"project": project, "python": python, "folder": folder, "cpus_per_task": launcher["cpus_per_task"]}
    filled = body.format(**{name: shlex.quote(str(value)) for name, value in words.items()})
    return "\n".join(["#!/bin/bash", *lines]) + "\n" + filled + 'exit "$code"\n'


def gpus(launcher: dict[str, Any]) -> str | None:
    """`h100:8`, `8`, or None for a run on CPUs."""
    if not launcher["gpus_per_node"]:
        return None
    kind = f"{launcher['gpu_type']}:" if launcher["gpu_type"] else ""
    return f"{kind}{launcher['gpus_per_node']}"


def quoted(value: object) -> str:
    """A value of a #SBATCH line, whose quotes are those of a shell."""
    return shlex.quote(str(value)) if " " in str(value) else str(value)
