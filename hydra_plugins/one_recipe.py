"""`hydra/launcher=slurm`: makes a batch job of every job of a sweep and waits for all of them.

In this folder, because Hydra finds and builds launchers only in the namespace that it is named after.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from src.launch.slurm.submission import Job
from src.launch.slurm.waiting import wait


class SlurmLauncher(Launcher):
    """Each job composes, checks and freezes its config here, one after the other; then Slurm has them all.

    poll_seconds: between two looks at the queue.
    """

    def __init__(self, *, poll_seconds: float) -> None:
        self.poll_seconds = poll_seconds

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """The task function submits and returns a `Job`; its outcome becomes the value or the failure of the return."""
        setup_globals()
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        returns = [self.start(overrides, initial_job_idx + place) for place, overrides in enumerate(job_overrides)]
        submitted = [
            made for made in returns if made.status == JobStatus.COMPLETED and isinstance(made.return_value, Job)
        ]
        failures = wait([made.return_value for made in submitted], poll_seconds=self.poll_seconds)
        for made in submitted:
            failure = failures[made.return_value]
            if failure is not None:
                print(failure, file=sys.stderr, flush=True)
                made.status = JobStatus.FAILED
            made.return_value = failure
        return returns

    def start(self, overrides: Sequence[str], number: int) -> JobReturn:
        """Compose job `number` of the sweep and run the task function, as Hydra's own launcher does."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
