"""Where the jobs of a sweep run: what hydra/launcher says, as a pool of places that the loop fills."""

import os
from typing import Any, Protocol

from src.check.global_batch import count_devices
from src.errors import UserError
from src.sweep.devices import Gpus, visible_gpus
from src.sweep.pool import LocalPool, Pool


class Places(Protocol):
    """A launcher of ours, which checks each job before the pool is made."""

    def accept(self, config: dict[str, Any]) -> int:
        """GPUs that the pool must give a job of this config; raises UserError for one that cannot run there."""
        ...

    def pool(self, *, size: int | None) -> Pool:
        """The pool. size: how many jobs there are, None where each follows from those that have ended."""
        ...


class Machine:
    """This machine, `parallel` jobs at once."""

    def __init__(self, *, parallel: int) -> None:
        self.parallel = parallel
        self.gpus = Gpus([])
        self.said: set[str] = set()

    def accept(self, config: dict[str, Any]) -> int:
        """See Places."""
        if config["launcher"]:
            raise UserError(
                "launcher=sbatch submits one run and leaves; hydra/launcher=slurm submits the jobs of a sweep and "
                "waits for them."
            )
        devices, accelerator = config["trainer"]["devices"], config["trainer"]["accelerator"]
        if self.parallel == 1 or accelerator == "cpu":
            return 0
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            return 0
        if isinstance(devices, list) or devices == -1:
            raise UserError(
                f"trainer.devices ({devices}) must be a number with hydra.launcher.parallel={self.parallel}, which "
                "gives each job GPUs of its own."
            )
        self.gpus.names = visible_gpus(count, os.environ)
        wanted = count_devices(devices)
        line = self.gpus.check(gpus=wanted, parallel=self.parallel)
        if line and line not in self.said:
            self.said.add(line)
            print(line, flush=True)
        return wanted

    def pool(self, *, size: int | None) -> Pool:
        """See Places."""
        return LocalPool(parallel=self.parallel, gpus=self.gpus)
