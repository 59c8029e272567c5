"""The allow-list of `_target_`: what a config may build, decided by name before anything is imported."""

import ast
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from src.check.nearest import nearest
from src.errors import UserError

SOURCE = Path(__file__).resolve().parents[1]
# Rooms whose public classes and functions are made to be named in a config.
ROOMS = (
    "model",
    "task",
    "data",
    "attention",
    "cache",
    "optimizer",
    "schedule",
    "strategy",
    "callbacks",
    "logger",
    "evaluation",
    "benchmark",
)
OWN = re.compile(rf"src\.({'|'.join(ROOMS)})\.([a-z][a-z0-9_]*)\.([A-Za-z][A-Za-z0-9_]*)")


def _names(module: str, names: str) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for name in names.split())


EXTERNAL = (
    _names("lightning", "Trainer")
    | _names("torch.optim", "SGD Adam AdamW")
    | _names("lightning.pytorch.loggers", "CSVLogger TensorBoardLogger WandbLogger")
    | _names("lightning.pytorch.profilers", "SimpleProfiler AdvancedProfiler PyTorchProfiler")
    | _names(
        "lightning.pytorch.callbacks",
        "EarlyStopping LearningRateMonitor RichProgressBar TQDMProgressBar ModelSummary RichModelSummary Timer "
        "DeviceStatsMonitor GradientAccumulationScheduler EMAWeightAveraging StochasticWeightAveraging",
    )
)
# What Hydra builds itself. Its PickleJobInfoCallback is left out: a pickle of a config has no reader here.
HYDRA = (
    _names("hydra._internal.core_plugins", "basic_launcher.BasicLauncher basic_sweeper.BasicSweeper")
    | _names("hydra_plugins.one_recipe", "Grid Search Local Slurm")
    | _names("hydra.experimental.callbacks", "LogJobReturnCallback")
)
# Python's logging builds handlers from `class` and `()`, and imports whatever stands behind `ext://`.
LOGGING = _names("logging", "StreamHandler FileHandler NullHandler Formatter Filter") | {"colorlog.ColoredFormatter"}
STREAMS = {"ext://sys.stdout", "ext://sys.stderr"}


def walk(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every mapping, list and value of a plain tree with its dotted key, the tree itself first."""
    yield key, tree
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from walk(value, f"{key}.{name}" if key else str(name))
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from walk(value, f"{key}[{number}]")


def check_targets(tree: Any, *, key: str = "") -> None:
    """Refuse every `_target_` in `tree` that is not on the list. Imports nothing.

    `key` is where the tree hangs: below `hydra` Hydra's own names are legal and ours are not.

    Raises:
        UserError: a target, logging class or stream that is not on the list.
    """
    for path, value in walk(tree, key):
        _, _, name = path.rpartition(".")
        below_hydra = path == "hydra" or path.startswith("hydra.")
        if name == "_target_":
            _check_name(value, path, legal=HYDRA if below_hydra else EXTERNAL, own=not below_hydra)
        elif name == "()" or (name == "class" and path.startswith(("hydra.job_logging", "hydra.hydra_logging"))):
            _check_name(value, path, legal=LOGGING, own=False)
        elif below_hydra and isinstance(value, str) and value.startswith("ext://") and value not in STREAMS:
            raise UserError(f"{path} ({value}) must be one of {', '.join(sorted(STREAMS))}.")


def _check_name(target: Any, key: str, *, legal: frozenset[str], own: bool) -> None:
    if not isinstance(target, str):
        raise UserError(f"{key} ({target}) must be the dotted name of a class or function.")
    if target in legal:
        return
    match = OWN.fullmatch(target) if own else None
    names = () if match is None else defined_names(SOURCE / match[1] / f"{match[2]}.py")
    if match is not None and match[3] in names:
        return
    known = [*legal, *(own_targets() if own else [])]
    guess = nearest(target, known)
    hint = f" Did you mean {guess}?" if guess else ""
    raise UserError(
        f"{key} ({target!r}) is not on the list of parts that a config may build (src/check/targets.py).{hint}"
    )


@functools.cache
def defined_names(source: Path) -> tuple[str, ...]:
    """Public classes and functions that a file itself defines, read without running it; none if there is no file.

    What a decorator makes of a function is no function, and a Protocol or TypedDict is a type: neither can be built.
    """
    if not source.is_file():
        return ()
    body = ast.parse(source.read_text(encoding="utf-8")).body
    named = [node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    return tuple(node.name for node in named if is_buildable(node) and not node.name.startswith("_"))


def is_buildable(node: ast.ClassDef | ast.FunctionDef) -> bool:
    if isinstance(node, ast.FunctionDef):
        return not node.decorator_list
    return not any(isinstance(base, ast.Name) and base.id in ("Protocol", "TypedDict") for base in node.bases)


def own_targets() -> list[str]:
    """Every legal target of this project."""
    files = [file for room in ROOMS for file in sorted((SOURCE / room).glob("[a-z]*.py"))]
    return [f"src.{file.parent.name}.{file.stem}.{name}" for file in files for name in defined_names(file)]


def import_target(target: str, *, key: str) -> Callable[..., Any]:
    """The class or function behind a target that `check_targets` let pass.

    Raises:
        UserError: the target needs a package that is not installed, or is not what its file defines under that name.
    """
    module, _, name = target.rpartition(".")
    try:
        part = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise UserError(f"{key} ({target}) needs the package {error.name}, which is not installed.") from error
    if not (inspect.isclass(part) or inspect.isfunction(part)):
        raise UserError(f"{key} ({target}) must name a class or a function.")
    if target not in EXTERNAL and (part.__module__, part.__qualname__) != (module, name):
        raise UserError(f"{key} ({target}) is {part.__module__}.{part.__qualname__} by another name; write that one.")
    return part
