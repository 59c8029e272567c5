"""Compare with the plain alternative: `python -m src.benchmark suite=lstm [data.path=...] [suite.<key>=...]`."""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from src.launch.door import job, open_door


@hydra.main(version_base="1.3", config_path="../../conf", config_name="benchmark")
@job
def main(composed: DictConfig) -> None:
    """Read the data, run one suite, print its rows."""
    from src.launch.benchmarking import run_suite

    run_suite(composed, typed=HydraConfig.get().overrides.task)


if __name__ == "__main__":
    open_door(main, config_name="benchmark")
