"""Refuse a wrong run before it starts: `python -m src.check` with the overrides of `python -m src.train`."""

import hydra
from omegaconf import DictConfig

from src.launch.door import job, open_door


@hydra.main(version_base="1.3", config_path="../../conf", config_name="check")
@job
def main(composed: DictConfig) -> None:
    """Compose, check every name, type and combination, build the network without memory; train nothing."""
    from src.check.rules_memory import memory_rows
    from src.launch.plan import describe
    from src.launch.preflight import build_on_meta, preflight
    from src.launch.show import show_config, show_rows

    config = preflight(composed, run_dir="<run folder>")
    show_config(config, title="config")
    network = build_on_meta(config)
    show_rows(memory_rows(config, network))
    print(describe(config, network))
    print("ok")


if __name__ == "__main__":
    open_door(main, config_name="check")
