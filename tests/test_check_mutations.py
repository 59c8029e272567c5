"""Every key and value of the real config, broken in turn: all of it is refused, and by its own name."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from src.check.config import check_config
from src.check.rules import check_rules
from src.check.sections import Accumulation, Paths
from src.check.signatures import settings_of
from src.check.targets import import_target, walk
from src.errors import UserError
from src.launch.compose import CONFIG_FOLDER, plain, register_resolvers
from src.launch.settings import Settings
from tests.test_config import overrides_for

CHOICES = ["schedule=plateau", "logger=many", "accumulation=tokens", "optimizer=momentum", "threshold=cost"]


@dataclass(frozen=True, kw_only=True)
class Root(Settings):
    """The root with its two sections that no constructor describes."""

    paths: Paths  # type: ignore[assignment]
    accumulation: Accumulation = field(default_factory=Accumulation)  # type: ignore[assignment]


def composed(*overrides: str) -> dict[str, Any]:
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_FOLDER)):
        config = compose("train", overrides=["precision=fp32", *overrides])
    config.paths.run_dir = "outputs/run"
    return plain(config)


@pytest.fixture(scope="module")
def configs() -> list[dict[str, Any]]:
    return [composed(), composed(*CHOICES)]


def check(config: dict[str, Any]) -> None:
    check_config(config, root=Root)
    check_rules(config, cuda=False, bf16=False)


def leaves(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything a person can set."""
    for key, value in walk(config):
        if key and "[" not in key and not (isinstance(value, dict) and value):
            yield key, value


def node_of(config: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    *names, last = key.split(".")
    for name in names:
        config = config[name]
    return config, last


def annotation_of(config: dict[str, Any], key: str) -> Any:
    """The type that the constructor asks for at `key`; None where an entry of callbacks or logger stands."""
    part, name = node_of(config, key)
    section = key.rpartition(".")[0]
    if section in ("", "paths", "accumulation"):
        hints = get_type_hints({"": Root, "paths": Paths, "accumulation": Accumulation}[section], include_extras=True)
        return hints[name]
    if "_target_" not in part:
        return None
    target = part["_target_"]
    setting = settings_of(import_target(target, key=key), target=target).get(name)
    return None if setting is None else setting.annotation


def wrong_type(value: Any) -> Any:
    """A value that no key takes which now holds `value`."""
    if value is None or isinstance(value, str):
        return [["nonsense"]]
    return {"nonsense": 1} if isinstance(value, bool | list) else "nonsense"


def bounds(annotation: Any) -> Iterator[str]:
    for inner in get_args(annotation):
        yield from (part.strip() for part in inner.split(",")) if isinstance(inner, str) else bounds(inner)


def out_of_range(annotation: Any) -> Iterator[float]:
    """Just outside of every bound, for a type whose every number is bounded; words of a Literal are no bounds."""
    for bound in bounds(annotation):
        sign, _, number = bound.partition(" ")
        if sign in (">=", ">"):
            yield int(float(number)) - 1


def mutations(config: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(kind, dotted key that must be named, value to put there)."""
    for key, value in leaves(config):
        section, _, name = key.rpartition(".")
        word = name.startswith("_")
        if not word:
            yield "typo", f"{section}.{name[:-1]}x{name[-1:]}" if section else f"{name}x", value
        yield "type", key, wrong_type(value)
        for number in (float("nan"), float("inf")):
            yield "not finite", key, number
        annotation = annotation_of(config, key)
        if (
            value is not None
            and not word
            and type(None) not in get_args(annotation)
            and section not in ("callbacks", "logger")
        ):
            yield "null", key, None
        for number in out_of_range(annotation):
            yield "range", key, number


def refusal(config: dict[str, Any], key: str, value: Any, *, typo: bool) -> str:
    broken = copy.deepcopy(config)
    node, name = node_of(broken, key)
    if typo:
        original = name[:-2] + name[-1:] if name[:-2] + name[-1:] in node else name[:-1]
        del node[original]
    node[name] = value
    try:
        check(broken)
    except UserError as error:
        return str(error)
    return "accepted"


def test_the_real_config_is_accepted(configs: list[dict[str, Any]]) -> None:
    for config in configs:
        check(copy.deepcopy(config))


def test_every_mutation_of_the_real_config_is_refused_by_its_name(configs: list[dict[str, Any]]) -> None:
    """At least 300 mistakes, each an exception whose sentence names the dotted key."""
    tried: dict[str, int] = {}
    missed = []
    for config in configs:
        for kind, key, value in mutations(config):
            tried[kind] = tried.get(kind, 0) + 1
            said = refusal(config, key, value, typo=kind == "typo")
            if key not in said:
                missed.append((kind, key, value, said))
    assert missed == []
    assert tried.keys() == {"typo", "type", "not finite", "null", "range"}
    assert sum(tried.values()) >= 300
    assert min(tried.values()) >= 10


@pytest.mark.parametrize(
    "group", ["optimizer", "schedule", "logger", "callbacks", "accumulation", "threshold", "debug", "trainer"]
)
def test_every_choice_in_the_folder_passes(group: str) -> None:
    """A new file is a new case; trainer=gpu is one where there is a GPU."""
    for file in sorted((CONFIG_FOLDER / group).glob("*.yaml")):
        config = composed(*overrides_for(group, file.stem))
        check_config(config, root=Settings)
        check_rules(config, cuda=file.stem == "gpu", bf16=True)
