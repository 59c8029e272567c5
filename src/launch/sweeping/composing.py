"""From overrides to the checked config of one job, as its own command line would compose it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from src.launch.preflight import preflight
from src.launch.resuming import base_config


class Composer:
    """Hydra's config loader, with what is typed for Hydra itself on the sweep's command line."""

    def __init__(self, context: HydraContext, config: DictConfig) -> None:
        self.loader, self.config = context.config_loader, config

    @property
    def parser(self) -> OverridesParser:
        """Reads overrides; knows the choices of each group, for glob(*)."""
        return OverridesParser.create(config_loader=self.loader)

    @property
    def folder(self) -> Path:
        """The sweep folder; it stays the same, as drawn ids and times are kept in the config."""
        return Path(self.config.hydra.sweep.dir).absolute()

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The config of a command line with these overrides; raises Hydra's exceptions for a wrong one."""
        composed = self.loader.load_sweep_config(self.config, list(overrides))
        OmegaConf.clear_cache(composed)  # the loader copies it: each job draws ids of its own, as a run does
        HydraConfig.instance().set_config(composed)  # ${hydra:...} may stand anywhere
        with read_write(composed), open_dict(composed):
            del composed["hydra"]
        return composed

    def make(self, overrides: Sequence[str], *, folder: Path, pruning: dict[str, Any] | None = None) -> dict[str, Any]:
        """The resolved config of a job in `folder`, as `python -m src.train <overrides>` would train it.

        pruning: callbacks.pruning of a trial.

        Raises:
            UserError, or what Hydra raises: what that command line would be refused for.
        """
        composed = self.compose(overrides)
        wandb = OmegaConf.select(composed, "logger.wandb")
        if wandb is not None and OmegaConf.select(wandb, "group") is None:
            OmegaConf.update(composed, "logger.wandb.group", self.folder.name, force_add=True)
        composed, folder = base_config(composed, typed=list(overrides), folder=folder)
        if pruning is not None:  # here, where the config of branch_from cannot replace it any more
            OmegaConf.update(composed, "callbacks.pruning", pruning, force_add=True)
        OmegaConf.update(composed, "resume", "auto")  # whenever the job is started, its folder is the run
        return preflight(composed, run_dir=str(folder))
