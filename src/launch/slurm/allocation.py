"""Compares what srun has started with what the run's config says, before the ranks wait for each other."""

from collections.abc import Mapping
from typing import Any

from src.check.global_batch import count_devices
from src.errors import UserError


def check_allocation(config: dict[str, Any], variables: Mapping[str, str]) -> None:
    """Refuse a step of another size than the run. variables: the environment that srun gave the process.

    Raises:
        UserError: naming both numbers.
    """
    nodes = config["trainer"]["num_nodes"]
    tasks = nodes * count_devices(config["trainer"]["devices"])
    for name, due, key in (
        ("SLURM_NNODES", nodes, "trainer.num_nodes"),
        ("SLURM_NTASKS", tasks, "trainer.num_nodes x trainer.devices"),
    ):
        if int(variables[name]) != due:
            raise UserError(
                f"srun gave {name}={variables[name]}, the run was frozen with {key} = {due}. Submit its own job.sbatch "
                "unchanged, or start a run with other devices."
            )
