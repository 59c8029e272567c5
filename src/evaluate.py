"""Measure a finished run: `python -m src.evaluate run=<run folder> [split=val|test] [again=true]`."""

import hydra
from omegaconf import DictConfig

from src.launch.door import job, open_door


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
@job
def main(options: DictConfig) -> None:
    """Read the run's own config, load its best weights, measure one split."""
    from src.launch.remeasuring import remeasure

    remeasure(run_name=options.run, split=options.split, again=options.again, data_path=options.data_path)


if __name__ == "__main__":
    open_door(main, config_name="evaluate")
