"""Text from a language model: `python -m src.generate run=<run folder> prompt="..."`, or file=, or standard input."""

import sys

import hydra
from omegaconf import DictConfig

from src.launch.door import job, open_door
from src.launch.free_text import quote


@hydra.main(version_base="1.3", config_path="../conf", config_name="generate")
@job
def main(composed: DictConfig) -> None:
    """Print the text as it is made, or one text or JSON object per prompt."""
    from src.launch.compose import plain
    from src.launch.generating import generate, read_options

    generate(read_options(plain(composed)))


def quoted(argument: str) -> str:
    """Free text as it was typed; only `stop=[a,b]` is a list in Hydra's grammar."""
    return argument if argument.startswith("stop=[") else quote(argument, keys=("prompt", "file", "stop"))


if __name__ == "__main__":
    sys.argv[1:] = map(quoted, sys.argv[1:])
    open_door(main, config_name="generate", only_prints=True)
