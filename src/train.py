"""Train a model: `python -m src.train model=bilstm [group=choice] [key=value]`; `--help` lists the choices."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from src.launch.door import job, open_door


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
@job
def main(composed: DictConfig) -> object:
    """Check the config, take the run folder, train or submit."""
    from src.launch import resuming
    from src.launch.preflight import preflight
    from src.launch.slurm.commands import find_sbatch
    from src.run.signals import listen

    made = Path(HydraConfig.get().runtime.output_dir)
    with listen() as signals:
        try:
            composed, folder = resuming.base_config(composed, typed=HydraConfig.get().overrides.task, folder=made)
            config = preflight(composed, run_dir=str(folder))
            if config["launcher"] and not config["dry_run"]:
                find_sbatch()
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


if __name__ == "__main__":
    open_door(main, config_name="train")
