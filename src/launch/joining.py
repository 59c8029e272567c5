"""Joins what was typed to the saved config of a run, for `resume=<run folder>` and `branch_from`."""

from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from src.check.targets import check_targets
from src.errors import UserError
from src.launch.compose import CONFIG_FOLDER
from src.run.index import find_run, read_config

# Groups that may be chosen anew, with the part of the config that they are.
GROUPS = {"strategy": "trainer.strategy", "callbacks": "callbacks", "logger": "logger", "launcher": "launcher"}
# Keys that say where a run begins, and not what it is.
WAYS = ("resume", "resume_changes", "branch_from")


def find_saved(name: str, *, root: Path, key: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a run and its config.yaml, whose targets are checked.

    Raises:
        UserError: no such run, or it has no config, naming the `key` that was typed.
    """
    found = find_run(name, root=root).path
    saved = read_config(found)
    if not saved:
        raise UserError(f"{key} ({name}) has no config.yaml: it ended before it began. Start a new run.")
    check_targets(saved)
    return found, saved


def join(
    saved: dict[str, Any], composed: DictConfig, *, typed: list[str], groups: dict[str, str] = GROUPS
) -> tuple[DictConfig, list[str]]:
    """The saved config with the typed values, which `composed` holds, and their dotted keys.

    Raises:
        UserError: a group was chosen that cannot be taken alone.
    """
    base = OmegaConf.create(saved)
    keys = [key for override in typed if (key := key_of(override, groups)) not in WAYS]
    raw = OmegaConf.create(OmegaConf.to_container(composed, resolve=False))
    for key in keys:
        OmegaConf.update(base, key, OmegaConf.select(raw, key), merge=False, force_add=True)
    # Where a run goes on is said anew each time.
    for key, local in (("launcher", {}), ("dry_run", False)):
        OmegaConf.update(base, key, OmegaConf.select(raw, key, default=local), merge=False, force_add=True)
    named = sorted({*composed.resume_changes, *keys})
    OmegaConf.update(base, "resume", composed.resume, force_add=True)
    OmegaConf.update(base, "resume_changes", named, merge=False, force_add=True)
    base.paths.run_dir = None
    return base, keys


def key_of(override: str, groups: dict[str, str]) -> str:
    """The dotted key of a composed config that an override of the command line sets."""
    parsed = OverridesParser.create().parse_override(override)
    key = parsed.key_or_group
    if key in groups:
        return groups[key]
    if parsed.is_delete() or "/" in key or (CONFIG_FOLDER / key).is_dir():
        raise UserError(
            f"{override} cannot be joined to the saved config of a run; change single values, as in "
            f"trainer.max_epochs=20, or {', '.join(groups)} as a whole."
        )
    return key


def moved(node: Any, before: str, after: str) -> Any:
    """The tree with the paths that lay in a folder under its new name."""
    if isinstance(node, dict):
        return {key: moved(value, before, after) for key, value in node.items()}
    if isinstance(node, list):
        return [moved(value, before, after) for value in node]
    inside = isinstance(node, str) and (node == before or node.startswith(f"{before}/"))
    return after + node[len(before) :] if inside else node
