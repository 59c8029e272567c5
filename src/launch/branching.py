"""`branch_from=<run>[@step]`: a new run that begins where another one stood, with values changed on purpose."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src.errors import UserError
from src.launch.differences import LEGAL, check_length, find_changes
from src.launch.joining import GROUPS, WAYS, find_saved, join, moved
from src.run.files import read_json, short_id
from src.run.folder import RunFolder
from src.run.manifest import Manifest, find_last
from src.run.origin import Origin, read_origin

if TYPE_CHECKING:
    from torch import nn

# What may differ from the origin besides what may on a resume: nothing by which weights, moments or the data would be
# others. Of the task and the optimizer these decide about the groups of parameters and what is kept for each.
CLIPPING = ("trainer.gradient_clip_val", "trainer.gradient_clip_algorithm")
CHECKS = ("val_check_interval", "check_val_every_n_epoch", "limit_val_batches", "limit_test_batches")
BRANCH_LEGAL = (*LEGAL, *CLIPPING, *(f"trainer.{name}" for name in CHECKS), "optimizer", "schedule", "model", "task")
KINDS = (
    *(f"optimizer.{name}" for name in ("_target_", "fused", "foreach", "capturable", "differentiable", "amsgrad")),
    *(f"task.{name}" for name in ("_target_", "decay", "layer_decay", "num_classes")),
)
BRANCH_GROUPS = {**GROUPS, "schedule": "schedule"}
NAME = re.compile(r"(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)_(.+)_([0-9a-f]{8})")  # src.run.folder.run_name


def branch_config(composed: DictConfig, *, typed: list[str], folder: Path) -> tuple[DictConfig, Path]:
    """The config of the run that `branch_from` names with the typed changes, and the folder of the new run.

    Raises:
        UserError: no such run, other ways to begin were given too, or a change that cannot be joined to its config.
    """
    origin = Origin.parse(composed.branch_from)
    if composed.init_from is not None:
        raise UserError(
            f"init_from ({composed.init_from}) begins with weights alone, branch_from ({composed.branch_from}) with "
            "all of a run; give one of them."
        )
    try:
        found, saved = find_saved(origin.run, root=Path(composed.paths.output_dir), key="branch_from")
    except UserError as error:
        raise UserError(f"branch_from must be a run, or as in <run>@best and <run>@<step>: {error}") from None
    place = _named_as(found, folder)
    saved = moved(saved, saved["paths"]["run_dir"], str(place))
    base, keys = join(saved, composed, typed=typed, groups=BRANCH_GROUPS)
    base.paths.output_dir = composed.paths.output_dir
    OmegaConf.update(base, "init_from", None, force_add=True)
    OmegaConf.update(base, "branch_from", str(Origin(str(found.resolve()), origin.at)), force_add=True)
    if "logger" not in keys and OmegaConf.select(base, "logger.wandb.id") is not None:
        base.logger.wandb.id = short_id()
    return base, place


def _named_as(origin: Path, folder: Path) -> Path:
    """The folder, if Hydra made its name, with the model of the origin in it; Hydra knows the default model only."""
    before, now = NAME.fullmatch(origin.name), NAME.fullmatch(folder.name)
    return folder.with_name(f"{now[1]}_{before[2]}_{now[3]}") if before and now else folder


def check_branch(config: dict[str, Any], network: "nn.Module") -> None:
    """Refuse a branch that cannot go on from its origin; `network` may be on the meta device.

    Raises:
        UserError: a difference that a branch cannot have, another shape, no checkpoint, or nothing to read it with.
    """
    run = RunFolder(config["paths"]["run_dir"])
    if config.get("branch_from") is None or find_last(run.checkpoints) is not None:  # it has begun already
        return
    _, saved = _origin_of(config)
    _changes(config, saved)
    name = f"branch_from ({config['branch_from']})"
    if not config["callbacks"].get("checkpoint"):
        raise UserError(f"{name} needs callbacks.checkpoint, which reads checkpoints as well; use callbacks=default.")
    _check_shapes(network, saved, name=name)


def _check_shapes(network: "nn.Module", saved: dict[str, Any], *, name: str) -> None:
    import torch

    from src.launch.build import build_network

    with torch.device("meta"):
        theirs = {key: list(tensor.shape) for key, tensor in build_network(saved).state_dict().items()}
    ours = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    if unequal := [key for key in {**theirs, **ours} if ours.get(key) != theirs.get(key)]:
        key = unequal[0]
        was, now = (shapes.get(key, "not there") for shapes in (theirs, ours))
        raise UserError(
            f"{name} has another network: {key} is {was} there and {now} here. Keep its sizes, or start a new run from "
            "its weights with init_from."
        )


def _origin_of(config: dict[str, Any]) -> tuple[Origin, dict[str, Any]]:
    """What branch_from names, and its config as if its folder were that of the branch."""
    origin = Origin.parse(config["branch_from"])
    found, saved = find_saved(origin.run, root=Path(config["paths"]["output_dir"]), key="branch_from")
    return Origin(str(found.resolve()), origin.at), moved(saved, saved["paths"]["run_dir"], config["paths"]["run_dir"])


def _changes(config: dict[str, Any], saved: dict[str, Any]) -> list[str]:
    """The dotted keys in which a branch differs from its origin; raises UserError where it must not."""
    before, now = ({k: v for k, v in each.items() if k not in (*WAYS, "init_from")} for each in (saved, config))
    named, place = config["resume_changes"], config["branch_from"]
    return find_changes(before, now, named=named, place=place, legal=BRANCH_LEGAL, but=KINDS)


def find_beginning(config: dict[str, Any], run: RunFolder) -> Manifest | None:
    """The checkpoint that a branch begins with; None for what is no branch, or has begun.

    Raises:
        UserError: it is not there or damaged, or lies behind the end of this run.
    """
    if config.get("branch_from") is None or find_last(run.checkpoints) is not None:
        return None
    from src.run.beginning import find_start  # torch is there by now

    origin, _ = _origin_of(config)
    start = find_start(origin)
    check_length(config, start, place=str(origin))
    return start


def begin(config: dict[str, Any], run: RunFolder, start: Manifest) -> None:
    """Put the beginning into the claimed folder, and say where it comes from."""
    from src.run.beginning import copy_start

    origin, saved = _origin_of(config)
    changes, environment = _changes(config, saved), read_json(RunFolder(origin.run).environment) or {}
    record = {
        "branch_from": origin.run,
        "step": start.step,
        "epoch": start.epoch + 1,
        "checkpoint_sha256": start.identity,
        "changes": changes,
        "data": environment.get("data") or {},
    }
    copy_start(start, run, record)
    changed = f"; changed: {', '.join(changes)}" if changes else ", with nothing changed"
    print(f"branch of {origin.run} at step {start.step}{changed}", flush=True)


def provenance(folder: Path) -> dict[str, Any]:
    """What result.json keeps of a branch; empty for every other run."""
    record = read_origin(folder)
    if not record:
        return {}
    return {
        "branch_from": Path(record["branch_from"]).name,
        "branch_from_step": record["step"],
        "branch_from_sha256": record["checkpoint_sha256"],
    }
