"""Weights for other programs: `python -m src.export run=<run folder> to=<new folder> [format=safetensors|llama]`."""

import hydra
from omegaconf import DictConfig

from src.launch.door import job, open_door


@hydra.main(version_base="1.3", config_path="../conf", config_name="export")
@job
def main(composed: DictConfig) -> None:
    """Write one folder: weights, config, tokenizer, SHA256SUMS."""
    from src.launch.compose import plain
    from src.launch.exporting import export, read_options

    export(read_options(plain(composed)))


if __name__ == "__main__":
    open_door(main, config_name="export")
