"""Measure a finished run: `python -m src.evaluate run=<run folder> [split=val|test] [again=true] [threshold=cost]`."""

import hydra
from omegaconf import DictConfig, OmegaConf

from src.errors import UserError
from src.launch.door import job, open_door


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
@job
def main(options: DictConfig) -> None:
    """Read the run's own config, load its best weights, measure one split; for another threshold on val, none of it."""
    given = OmegaConf.to_container(options)
    assert isinstance(given, dict)
    check_again(given["again"], split=given["split"])
    threshold, run, data_path = given.get("threshold"), given["run"], given["data_path"]
    if threshold is not None and given["split"] == "val":
        from src.launch.choosing import choose_again

        choose_again(run_name=run, threshold=threshold, data_path=data_path)
    else:
        from src.launch.remeasuring import remeasure

        remeasure(run_name=run, split=given["split"], again=given["again"], data_path=data_path, threshold=threshold)


def check_again(again: object, *, split: object) -> None:
    """Raises UserError for what is neither true nor false, and for a second look at anything but test."""
    if not isinstance(again, bool):
        raise UserError(f"again ({again}) must be true or false.")
    if again and split == "val":
        raise UserError("again (true) has no effect on split=val, which is free to measure; leave it out.")


if __name__ == "__main__":
    open_door(main, config_name="evaluate")
