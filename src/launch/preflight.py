"""Everything that can be refused before data is read: names, types, targets, combinations, the built network."""

from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src.check.compiler import check_compiler
from src.check.config import check_config
from src.check.environment import check_environment
from src.check.facts import ask
from src.check.hardware import Hardware, choose_precision, probe
from src.check.rules import check_rules
from src.check.rules_launcher import hardware_of_job
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
    config, network = examine(composed, run_dir=run_dir)
    check_memory(config, network)
    return config


def examine(composed: DictConfig, *, run_dir: str, elsewhere: bool = False) -> tuple[dict[str, Any], "nn.Module"]:
    """All of preflight but the size of the device's memory; also the network, on the meta device.

    elsewhere: a plan for GPUs that need not be here, in any number.

    Raises:
        UserError: as preflight.
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
    hardware = hardware_of(config, elsewhere=elsewhere)
    config["trainer"]["precision"] = choose_precision(config["trainer"]["precision"], hardware)
    check_rules(config, cuda=hardware.cuda, bf16=hardware.bf16, elsewhere=elsewhere)
    network = build_on_meta(config)
    if not elsewhere and not config.get("launcher"):  # a batch job runs on another machine
        from src.launch.plan import attention_line

        attention_line(config, network)
        if ask(config, "model.compile", "none") != "none":
            check_compiler(f"model.compile ({config['model']['compile']})")
    if config["init_from"] is not None:
        from src.launch.starting import check_start

        check_start(config, network)
    if config.get("branch_from") is not None:
        from src.launch.branching import check_branch

        check_branch(config, network)
    return config, network


def hardware_of(config: dict[str, Any], *, elsewhere: bool) -> Hardware:
    """What the device that trains can do; a plan for GPUs makes them of trainer.accelerator=auto.

    Raises:
        UserError: a plan for GPUs with another accelerator.
    """
    trainer = config["trainer"]
    if elsewhere:
        if trainer["accelerator"] not in ("auto", "gpu", "cuda"):
            raise UserError(
                f"trainer.accelerator ({trainer['accelerator']}) does not go with plan.device, which names a GPU; "
                "leave one of them out."
            )
        trainer["accelerator"] = "gpu"
        return Hardware(cuda=True, bf16=True)
    return hardware_of_job(config) if config.get("launcher") else probe(trainer["accelerator"])


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
