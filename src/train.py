"""Train a model: `python -m src.train model=bilstm [group=choice] [key=value]`; `--help` lists the choices."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from src.launch.door import job, open_door


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
@job
def main(composed: DictConfig) -> None:
    """Check the config, take the run folder, train."""
    from src.launch.preflight import preflight
    from src.run.folder import RunFolder

    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        config = preflight(composed, run_dir=str(folder))
    except BaseException:
        remove_if_empty(folder)  # Hydra makes it before anything is checked
        raise
    # After the checks, which need torch only for some answers: a typo is refused in a second.
    from src.launch.training import train_run

    run = RunFolder.claim(folder)
    train_run(config, run)


def remove_if_empty(folder: Path) -> None:
    """Leave no trace of a run that never started."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


if __name__ == "__main__":
    open_door(main, config_name="train")
