"""Label texts with a finished run: `python -m src.predict run=<run folder> text="..."`, or file=, or standard input."""

import sys

import hydra
from omegaconf import DictConfig

from src.launch.door import job, open_door
from src.launch.free_text import quote_free_text, rename


@hydra.main(version_base="1.3", config_path="../conf", config_name="predict")
@job
def main(options: DictConfig) -> None:
    """Print one line per text: label and probability, or a JSON object."""
    from src.launch.predicting import Options, predict

    predict(Options(**{str(key): value for key, value in options.items()}))


if __name__ == "__main__":
    # Hydra takes any threshold=... for a choice of the group conf/threshold, which only training has.
    sys.argv[1:] = quote_free_text(rename(sys.argv[1:], key="threshold", to="cut"), keys=("text", "file"))
    open_door(main, config_name="predict", only_prints=True)
