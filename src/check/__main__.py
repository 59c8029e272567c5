"""Refuse a wrong run before it starts: `python -m src.check` with the overrides of `python -m src.train`."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from src.launch.door import job, open_door


@hydra.main(version_base="1.3", config_path="../../conf", config_name="check")
@job
def main(composed: DictConfig) -> None:
    """Compose, check every name, type and combination, build the network without memory; train nothing."""
    from src.check.device import device_memory
    from src.check.duration import duration_of
    from src.check.memory import plan_memory
    from src.check.rules_memory import check_memory
    from src.check.table import cache_line, memory_rows, time_rows
    from src.launch.plan import describe
    from src.launch.planning import take_planning
    from src.launch.preflight import examine
    from src.launch.resuming import base_config
    from src.launch.show import show_config, show_rows

    planning, device = take_planning(composed)
    typed = [each for each in HydraConfig.get().overrides.task if not each.lstrip("+").startswith("plan.")]
    composed, folder = base_config(composed, typed=typed, folder=Path("<run folder>"))
    config, network = examine(composed, run_dir=str(folder), elsewhere=device is not None)
    device = device_memory(config) if device is None else device
    show_config(config, title="config")
    show_rows(memory_rows(config, network, plan_memory(config, network, cuda=device.cuda), device))
    show_rows(time_rows(duration_of(config, network, device, planning)))
    print(cache_line(network, length=config["data"]["max_length"]) or "", end="\n")
    print(describe(config, network, here=planning.device is None and not config["launcher"]))
    check_memory(config, network, device)
    print("ok")


if __name__ == "__main__":
    open_door(main, config_name="check")
