"""Whether two run folders hold the same run, to the bit."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch

from src.run.checkpoint import load_verified
from src.run.files import read_json
from src.run.ledger import read_ledger
from src.run.manifest import committed

# Measured by clocks or of this machine; "run" is the folder's own name, and nothing reads Lightning's loop counters.
CLOCKS = {"seconds", "peak_memory_bytes", "Throughput", "run", "loops"}


def differences(one: Path, other: Path) -> list[str]:
    """Where `other` differs from `one`: newest and best checkpoint, scores, metrics.csv, result, predictions, test."""
    found = []
    for name in ("last.ckpt", "best.ckpt"):
        states = [timeless(load_verified(folder / "checkpoints" / name)) for folder in (one, other)]
        found += [f"{name}{place}" for place in unequal(*states)]
    found += [f"{name} is in only one of them" for name in sorted(files(one) ^ files(other))]
    for read in (checkpoints, metrics, result, predictions, tests, status):
        found += [f"{read.__name__}{place}" for place in unequal(timeless(read(one)), timeless(read(other)))]
    return found


def timeless(tree: Any) -> Any:
    """Plain data without what clocks have measured; also without such entries of a list of logged numbers."""
    if isinstance(tree, dict):
        return {key: timeless(value) for key, value in tree.items() if not is_clock(key)}
    if isinstance(tree, list):
        return [timeless(value) for value in tree if not (isinstance(value, dict) and is_clock(logged_name(value)))]
    return tree


def is_clock(name: Any) -> bool:
    return name in CLOCKS or str(name).startswith(("throughput/", "time/"))


def logged_name(entry: dict[str, Any]) -> Any:
    settings = entry.get("settings")
    return settings.get("name") if isinstance(settings, dict) else None


def unequal(one: Any, other: Any, place: str = "") -> list[str]:
    """The places at which two trees of plain data, tensors and arrays differ in any bit."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [words for key in one for words in unequal(one[key], other[key], f"{place}.{key}")]
    if isinstance(one, list | tuple) and type(one) is type(other) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [words for number, pair in pairs for words in unequal(*pair, f"{place}[{number}]")]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
    elif isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        same = one.dtype == other.dtype and np.array_equal(one, other)
    else:
        same = type(one) is type(other) and one == other
    shown = (" ".join(str(value).split())[:100] for value in (other, one))
    return [] if same else [f"{place} is {' instead of '.join(shown)}"]


def checkpoints(run: Path) -> list[Any]:
    """Step, epoch, scores and names of those that were kept."""
    folder, found = run / "checkpoints", []
    for manifest in committed(folder):
        names = [name for name in ("best.ckpt", "last.ckpt") if manifest.path.samefile(folder / name)]
        found.append([manifest.step, manifest.epoch, manifest.scores, names])
    return found


def metrics(run: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv in their order; a row of speeds alone still has its step."""
    with open(run / "metrics.csv") as file:
        return list(csv.DictReader(file))


def result(run: Path) -> dict[str, Any]:
    return read_json(run / "result.json") or {}


def predictions(run: Path) -> dict[str, Any]:
    """The arrays of both splits; a language model has none."""
    found = {}
    for path in sorted(run.glob("predictions_*.npz")):
        with np.load(path) as arrays:
            found |= {f"{path.stem}.{name}": arrays[name] for name in arrays.files}
    return found


def tests(run: Path) -> list[Any]:
    """Every look at the test split."""
    return [[entry["again"], entry["metrics"]] for entry in read_ledger(run)]


def status(run: Path) -> dict[str, Any]:
    found = read_json(run / "status.json") or {}
    return {name: found.get(name) for name in ("state", "exit_code", "reason")}


def files(run: Path) -> set[str]:
    """Names of all files and folders; a temporary one that a killed process left is one too much."""
    return {str(path.relative_to(run)) for path in run.rglob("*")}
