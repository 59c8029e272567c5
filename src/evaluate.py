"""Measure a finished run: `python -m src.evaluate run=<run folder> [split=val|test] [again=true] [threshold=cost]`."""

import hydra
from omegaconf import DictConfig, OmegaConf

from src.launch.door import job, open_door


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
@job
def main(options: DictConfig) -> None:
    """Read the run's own config, load its best weights, measure one split; for another threshold on val, none of it."""
    given = OmegaConf.to_container(options)
    assert isinstance(given, dict)
    threshold, run, data_path = given.get("threshold"), given["run"], given["data_path"]
    if threshold is not None and given["split"] == "val":
        from src.launch.choosing import choose_again

        choose_again(run_name=run, threshold=threshold, data_path=data_path)
    else:
        from src.launch.remeasuring import remeasure

        remeasure(run_name=run, split=given["split"], again=given["again"], data_path=data_path, threshold=threshold)


if __name__ == "__main__":
    open_door(main, config_name="evaluate")
