"""Everything that can be refused before data is read: names, types, targets, combinations, the built network."""

from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src.check.config import check_config
from src.check.environment import check_environment
from src.check.hardware import choose_precision, probe
from src.check.rules import check_rules
from src.check.rules_memory import check_memory
from src.data.source import is_hub_name
from src.errors import UserError
from src.launch.compose import plain
from src.launch.settings import Settings

if TYPE_CHECKING:
    from torch import nn


def preflight(composed: DictConfig, *, run_dir: str) -> dict[str, Any]:
    """The checked, resolved config of a run as a plain dict, precision=auto decided.

    Raises:
        UserError: naming the key, the value and the way out.
    """
    typed = OmegaConf.select(composed, "paths.run_dir")
    if typed is not None:
        raise UserError(f"paths.run_dir ({typed}) is set by the run itself; use hydra.run.dir=DIR.")
    OmegaConf.update(composed, "paths.run_dir", run_dir, force_add=True)
    if composed.get("init_from") is not None:
        from src.launch.starting import follow_tokenizer

        follow_tokenizer(composed)
    check_environment(OmegaConf.to_container(composed, resolve=False))
    config = plain(composed)
    check_config(config, root=Settings)
    find_corpus(config)
    hardware = probe(config["trainer"]["accelerator"])
    config["trainer"]["precision"] = choose_precision(config["trainer"]["precision"], hardware)
    check_rules(config, cuda=hardware.cuda, bf16=hardware.bf16)
    network = build_on_meta(config)
    check_memory(config, network)
    from src.launch.plan import attention_line

    attention_line(config, network)
    if config["init_from"] is not None:
        from src.launch.starting import check_start

        check_start(config, network)
    return config


def find_corpus(config: dict[str, Any]) -> None:
    """Refuse a corpus that is not there before a run folder is made; only the hub is left to be asked later."""
    data = config["data"]
    if not is_hub_name(data["path"]):
        columns = {"text_column": data["text_column"], "label_column": data["label_column"]}
        instantiate(data["reader"])(path=data["path"], **columns)


def build_on_meta(config: dict[str, Any]) -> "nn.Module":
    """The network, built without memory for its weights; a value its constructor refuses is refused here."""
    import torch

    from src.launch.build import build_network

    with torch.device("meta"):
        return build_network(config)
