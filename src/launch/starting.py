"""`init_from=<run folder>`: start from another run's best weights, by name, and read text with its tokenizer."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import device, nn

from src.errors import UserError
from src.launch.branching import provenance
from src.launch.build import build_network
from src.launch.finished import checkpoint_of, kept_tokenizer, open_run
from src.model.transfer import copy_shared, match
from src.run.checkpoint import load_verified

# Text on which a run validates or tests must not have been read by the run it starts from.
SAME = {"split": "holdout", "split_seed": 0, "overlap": "keep"}


def follow_tokenizer(composed: DictConfig) -> None:
    """Set data.tokenizer and data.vocab_size to those of the run that `init_from` names.

    Raises:
        UserError: no such run, it kept no tokenizer, or another one was asked for.
    """
    if OmegaConf.select(composed, "init_from") is None or OmegaConf.select(composed, "data.tokenizer") is None:
        return
    run, before = open_run(composed.init_from)
    found = kept_tokenizer(run)
    if found is None:
        raise UserError(f"init_from ({composed.init_from}) holds no tokenizer or vocabulary; name a finished run.")
    typed, path = composed.data.tokenizer, str(found.resolve())
    if typed not in ("words", "bpe", path):
        raise UserError(f"data.tokenizer ({typed}) must be that of init_from, {path}; leave it out.")
    OmegaConf.update(composed, "data.tokenizer", path)
    OmegaConf.update(composed, "data.vocab_size", before["data"]["vocab_size"])


def check_start(config: dict[str, Any], network: nn.Module) -> None:
    """Refuse a start that cannot work, from the two configs alone; `network` may be on the meta device.

    Raises:
        UserError: other sizes, nothing in common, no checkpoint, or text was read that this run holds out.
    """
    if config["init_from"] is None:
        return
    run, before = open_run(config["init_from"])
    checkpoint_of(run)
    with device("meta"):
        weights = build_network(before).state_dict()
    found = match(network, weights)
    name = f"init_from ({config['init_from']})"
    if found.unequal:
        ours, theirs = config["model"], before["model"]
        differ = [key for key in ours if key in theirs and ours[key] != theirs[key] and type(theirs[key]) is int]
        ways = " ".join(f"model.{key}={theirs[key]}" for key in differ if key != "vocab_size")
        raise UserError(f"{name} has another shape of {found.unequal[0]}; build the same network with {ways}.")
    if not found.shared:
        kinds = f"a {before['model']['_target_']}, this run builds a {config['model']['_target_']}"
        raise UserError(f"{name} has no weight that this network has: it was {kinds}.")
    for key, usual in SAME.items():
        theirs, ours = before["data"].get(key, usual), config["data"].get(key, usual)
        if theirs != ours:
            raise UserError(
                f"{name} was trained with data.{key}={theirs}, this run has {ours}: it would be measured on text that "
                f"its start has read. Give data.{key}={theirs}, or pre-train with {ours}."
            )


def load_start(config: dict[str, Any], network: nn.Module) -> dict[str, Any]:
    """Copy the weights, say what was copied, and return what result.json keeps of it, or of a branch's beginning."""
    if config["init_from"] is None:
        return provenance(Path(config["paths"]["run_dir"]))
    run, _ = open_run(config["init_from"])
    manifest = checkpoint_of(run)
    state = load_verified(manifest.path)["state_dict"]
    prefix = "network."
    weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    found = copy_shared(network, weights)
    fresh = f"; new: {', '.join(found.fresh)}" if found.fresh else ""
    unused = f"; left behind: {', '.join(found.unused)}" if found.unused else ""
    print(f"{len(found.shared)} weights from {run.path} (step {manifest.step}){fresh}{unused}", flush=True)
    return {"init_from": run.path.name, "init_from_sha256": manifest.identity}
