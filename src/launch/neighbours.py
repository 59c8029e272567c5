"""What a mistyped override could have meant: the groups, the choices and the keys around it."""

import re
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from src.check.nearest import nearest

CONFIG_WORDS = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")
# The first line of a file whose keys do not belong below its group's name.
PACKAGE = re.compile(r"# @package (\S+)")


def override_parts(argument: str) -> tuple[str, str, str]:
    """(key, value, prefix) of an override such as `++optimizer.lr=1`."""
    key, _, value = argument.partition("=")
    bare = key.lstrip("+~")
    return bare, value, key[: len(key) - len(bare)]


def groups_of(config_dir: Path) -> list[str]:
    """Folders with YAML files in them, as they are written on a command line."""
    folders = {file.parent.relative_to(config_dir) for file in config_dir.rglob("*.yaml")}
    return sorted(folder.as_posix() for folder in folders if folder != Path("."))


def choices_of(group: str, config_dir: Path) -> list[str]:
    """Names of the files of a group; none if there is no such group."""
    return sorted(file.stem for file in (config_dir / group).glob("*.yaml"))


def added_folder(arguments: list[str]) -> Path | None:
    """The folder of Hydra's --config-dir, whose choices stand beside those of conf/."""
    for argument, following in pairwise([*arguments, ""]):
        name, sign, value = argument.partition("=")
        if name in ("--config-dir", "-cd"):
            return Path(value if sign else following)
    return None


def config_words(arguments: list[str]) -> list[str]:
    """The words in which Hydra was told where the config is, each with its value."""
    found = []
    for argument, following in pairwise([*arguments, ""]):
        name, sign, _ = argument.partition("=")
        if name in CONFIG_WORDS:
            found += [argument] if sign else [argument, following]
    return found


def choices_holding(key: str, config_dir: Path) -> list[str]:
    """The choices, as they are written on a command line, whose own file sets a dotted key."""
    found = []
    for file in sorted(config_dir.glob("*/*.yaml")):
        text = file.read_text(encoding="utf-8")
        package = PACKAGE.match(text)
        place = package[1] if package else file.parent.name
        inner = key if place == "_global_" else key.removeprefix(f"{place}.")
        parent, _, name = inner.rpartition(".")
        with suppress(yaml.YAMLError):
            if (inner != key or place == "_global_") and name in (siblings(yaml.safe_load(text) or {}, parent) or []):
                found.append(f"{file.parent.name}={file.stem}")
    return found


def composed_without(override: str, arguments: list[str], config_dir: Path, config_name: str) -> dict[str, Any]:
    """The unresolved config without one override: with the other group choices if they compose, else with none."""
    groups = groups_of(config_dir)
    others = [a for a in arguments if a != override and "=" in a and not a.startswith("-")]
    chosen = [a for a in others if override_parts(a)[0].partition("@")[0] in groups]
    added = added_folder(arguments)
    path = [] if added is None else [f"hydra.searchpath=['file://{added.absolute()}']"]
    for overrides in ([*chosen, *path], []):
        try:
            return _compose(overrides, config_dir, config_name)
        except Exception:  # one more wrong override: the next attempt has fewer of them
            continue
    return {}


def _compose(overrides: list[str], config_dir: Path, config_name: str) -> dict[str, Any]:
    # A job that failed may have left its own Hydra behind; this one takes its place and goes.
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_dir.resolve())):
        container = OmegaConf.to_container(
            compose(config_name, overrides=overrides, return_hydra_config=True), resolve=False
        )
    return {str(key): value for key, value in container.items()} if isinstance(container, dict) else {}


def siblings(composed: dict[str, Any], parent: str) -> list[str] | None:
    """Keys below a dotted key, Hydra's own words left out; None if nothing or a single value stands there."""
    node: Any = composed
    for name in parent.split(".") if parent else []:
        node = node.get(name) if isinstance(node, dict) else None
    return [str(key) for key in node if not str(key).startswith("_")] if isinstance(node, dict) else None


def elsewhere(composed: dict[str, Any], name: str) -> list[str]:
    """Dotted keys of values in the sections that end in `name`, else in a name near it: `lr` is `optimizer.lr`."""
    sections = {section: node for section, node in composed.items() if isinstance(node, dict) and section != "hydra"}
    leaves = [
        (f"{s}.{leaf}", leaf) for s, node in sections.items() for leaf in node if not isinstance(node[leaf], dict)
    ]
    wanted = name if any(leaf == name for _, leaf in leaves) else nearest(name, [leaf for _, leaf in leaves])
    return [key for key, leaf in leaves if leaf == wanted]
