"""Opens a run that has been trained: its folder, its own saved config, its best weights."""

from pathlib import Path
from typing import Any

from torch import nn

from src.check.hardware import choose_precision, probe
from src.check.targets import check_targets
from src.data.bpe import Bpe
from src.data.vocabulary import Vocabulary
from src.errors import UserError
from src.launch.build import Task, build_network, build_task
from src.run.checkpoint import load_verified
from src.run.folder import RunFolder
from src.run.index import find_run, read_config
from src.run.manifest import Manifest, find_best, find_last


def open_run(name: str | None, *, root: Path = Path("outputs")) -> tuple[RunFolder, dict[str, Any]]:
    """The folder of a run and its config.yaml, whose targets are checked like a typed config's.

    Raises:
        UserError: no run of that name, or its config was changed into something that is not ours to build.
    """
    if name is None:
        raise UserError("run is missing: name a run folder, run=outputs/train/<date>_<time>_<model>_<id>.")
    folder = RunFolder(find_run(name, root=root).path)
    config = read_config(folder.path)
    if not config:
        raise UserError(f"run ({name}) has no config.yaml, so its model is not known. Choose a run that has one.")
    check_targets(config)
    return folder, config


def load_task(run: RunFolder, config: dict[str, Any]) -> Task:
    """The task with the best checkpoint's weights, the last one's if none has a score, in evaluation mode.

    Raises:
        UserError: the run has no checkpoint, or the file is damaged.
    """
    task = build_task(config, build_network(config))
    task.load_state_dict(load_verified(checkpoint_of(run).path)["state_dict"])
    return task.eval()


def load_network(run: RunFolder, config: dict[str, Any]) -> nn.Module:
    """The network alone, with the same weights. Attention is `auto`, whatever it was trained with: all give the same.

    Raises:
        UserError: the run has no checkpoint, or a file of it is damaged.
    """
    if "attention" in config["model"]:
        attention = {"_target_": "src.attention.auto.attend", "_partial_": True}
        config["model"] |= {"attention": attention, "compile": "none"}
    network = build_network(config)
    state = load_verified(checkpoint_of(run).path)["state_dict"]
    prefix = "network."
    network.load_state_dict({key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)})
    return network


def kept_tokenizer(run: RunFolder) -> Path | None:
    """The file that says how the run read text; None in a run that ended before it knew."""
    return next((run.path / name for name in (Bpe.FILE, Vocabulary.FILE) if (run.path / name).is_file()), None)


def checkpoint_of(run: RunFolder) -> Manifest:
    """The best checkpoint, the last one if none has a score.

    Raises:
        UserError: there is none.
    """
    manifest = find_best(run.checkpoints) or find_last(run.checkpoints)
    if manifest is None:
        raise UserError(f"run ({run.path}) has no checkpoint; train with callbacks=default or callbacks=checkpoint.")
    return manifest


def adapt_to_machine(config: dict[str, Any]) -> None:
    """Let a run trained on a GPU be read anywhere: one device, and a precision this machine has, said in one line."""
    trainer = config["trainer"]
    trainer |= {"accelerator": "auto", "devices": 1, "num_nodes": 1, "strategy": "auto", "fast_dev_run": False}
    hardware = probe("auto")
    if trainer["precision"] == "16-mixed" and not hardware.cuda:
        trainer["precision"] = choose_precision("auto", hardware)
        print(f"The run was trained in 16-mixed, which needs a GPU; evaluated here in {trainer['precision']}.")
