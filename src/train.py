"""Train a model: `python -m src.train model=bilstm [group=choice] [key=value]`; `--help` lists the choices.

With -m a sweep: values with commas are a grid, hparams_search=<name> is a search. Hydra then calls a sweeper of
hydra_plugins/one_recipe.py, which starts src/launch/job.py for each job, and not `main`.
"""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src.errors import UserError
from src.launch.door import Failed, job, open_door


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
@job
def main(composed: DictConfig) -> object:
    """Check the config, take the run folder, train or submit."""
    from src.launch import resuming
    from src.launch.preflight import preflight
    from src.launch.slurm.commands import find_sbatch
    from src.launch.sweeping.choices import check_single
    from src.run.signals import listen

    hydra_config = HydraConfig.get()
    if hydra_config.mode == RunMode.MULTIRUN:
        raise Failed(UserError("hydra/sweeper must be grid or optuna, which start each job as a process of its own."))
    made = Path(hydra_config.runtime.output_dir)
    with listen() as signals:
        try:
            composed, folder = resuming.base_config(composed, typed=hydra_config.overrides.task, folder=made)
            config = preflight(composed, run_dir=str(folder))
            if config["launcher"] and not config["dry_run"]:
                find_sbatch()
            check_single(hydra_config, config)
            opened = resuming.open(config, folder)
        except BaseException:
            remove_if_empty(made)  # Hydra makes it before anything is checked
            raise
        if folder != made:
            remove_if_empty(made)
        if config["launcher"] and not opened.finished:
            from src.launch.slurm.submission import submit_run

            return submit_run(opened.config, opened.run)
        # After the checks, which need torch only for some answers: a typo is refused in a second.
        from src.launch.training import conclude, train_run

        if not opened.finished:
            train_run(opened.config, opened.run, signals=signals)
        elif opened.run.report.exists():
            print(f"The run in {folder} has finished; nothing is left to be done.")
        else:
            conclude(opened.run)  # it was killed before the report
    return None


def remove_if_empty(folder: Path) -> None:
    """Leave no trace of a run that never started."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def start() -> None:
    """Call Hydra with the command of the sweep that is to be continued, if that is what was typed."""
    from src.launch.sweeping.choices import check_choices
    from src.launch.sweeping.continuing import MULTIRUN, sweep_command

    check_choices(sys.argv[1:])
    # Hydra reads no settings behind an option that stands between them.
    sys.argv[1:] = sorted(sweep_command(sys.argv[1:]), key=lambda typed: typed not in MULTIRUN)
    main()


if __name__ == "__main__":
    open_door(start, config_name="train")
