"""A Slurm cluster as the place where the jobs of a sweep run."""

from typing import Any

from src.errors import UserError
from src.launch.slurm.commands import find_sbatch
from src.launch.slurm.pool import SlurmPool
from src.sweep.pool import Pool


class Cluster:
    """See src/launch/sweeping/places.py. parallel: jobs in the queue at once, None for all of a grid."""

    def __init__(self, *, parallel: int | None, poll_seconds: float) -> None:
        self.parallel, self.poll_seconds = parallel, poll_seconds

    def accept(self, config: dict[str, Any]) -> int:
        """Slurm hands out GPUs itself."""
        if not config["launcher"]:
            raise UserError("launcher=local does not go with hydra/launcher=slurm, which needs its settings.")
        return 0

    def pool(self, *, size: int | None) -> Pool:
        """See Places.

        Raises:
            UserError: this machine cannot submit, or a search would draw all its points before any has a result.
        """
        find_sbatch()
        parallel = self.parallel or size
        if parallel is None:
            raise UserError(
                "hydra.launcher.parallel (null) must be a number in a search, which chooses a job by those that ended."
            )
        return SlurmPool(parallel=parallel, poll_seconds=self.poll_seconds)
