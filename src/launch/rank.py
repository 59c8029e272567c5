"""Which of a run's processes this one is, as its launcher says in the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from src.run.signals import Signals

if TYPE_CHECKING:
    from lightning import Callback


class Rank(NamedTuple):
    """The process's number in the whole run, its number on this machine, and how many there are."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @property
    def first(self) -> bool:
        """True for the one process that prints, and writes what a run writes once."""
        return self.rank == 0


OURS = "launched-by-"
# The elastic launcher's names, then those of srun.
NAMES = (("RANK", "LOCAL_RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS"))


def current_rank(environment: Mapping[str, str] | None = None) -> Rank:
    """This process's rank; 0 of 1 when nobody launched it as one of several.

    A job's batch script and an interactive shell on a cluster have SLURM_PROCID as well; only srun sets SLURM_STEP_ID
    beside it, and a process that was not started as a rank does not ask.
    """
    variables = os.environ if environment is None else environment
    for names in NAMES:
        if all(name in variables for name in names):
            return Rank(*(int(variables[name]) for name in names))
    return ALONE


ALONE = Rank()


def started_by_srun() -> bool:
    """True for a process of a cluster's job step, unless torchrun has started it inside one."""
    return "SLURM_STEP_ID" in os.environ and "RANK" not in os.environ


def launch_name(pid: int) -> str:
    """What the launcher of process `pid` calls its run in the environment of the ranks."""
    return f"{OURS}{pid}"


def launcher_pid(environment: Mapping[str, str] | None = None) -> int | None:
    """The process that launched this rank, keeps the folder and records the end; None for srun and torchrun."""
    name = (os.environ if environment is None else environment).get("TORCHELASTIC_RUN_ID", "")
    return int(name.removeprefix(OURS)) if name.startswith(OURS) else None


@dataclass(frozen=True, kw_only=True)
class Process:
    """This process as training sees it: its rank, what it was asked, and callbacks that every trainer gets.

    worker: it was started as one rank of a run, so that what a launcher has put into the environment is meant for it.
    """

    signals: Signals
    rank: Rank = ALONE
    worker: bool = False
    callbacks: "tuple[Callback, ...]" = ()
