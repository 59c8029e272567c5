"""Everything around a run that its config does not say: code, versions, machine, seed, data."""

import functools
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from src.run.git import describe_checkout
from src.run.hardware import describe_accelerators, describe_processor
from src.run.secrets import redact

PACKAGES = (
    "torch",
    "lightning",
    "hydra-core",
    "omegaconf",
    "numpy",
    "torchmetrics",
    "datasets",
    "wandb",
    "pyarrow",
    "flash-attn",
)


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that matter, without importing them; None = absent."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


@functools.cache  # parsing the metadata of all takes 20 ms, and every checkpoint asks
def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def describe_environment(
    *, seed: int | None, data: dict[str, Any] | None = None, torch: Any = None, root: Path | None = None
) -> dict[str, Any]:
    """The content of env.json: plain, redacted.

    data: the fingerprint of the data, given by who read it. torch: the module, imported here if absent (a second or
    more). root: the checkout to describe, this one by default.
    """
    if torch is None:
        import torch
    described = {
        "git": describe_checkout(root or Path(__file__).resolve().parents[2]),
        "versions": versions(),
        "platform": platform.platform(),
        "hardware": describe_processor() | {"gpus": describe_accelerators(torch), "cuda": torch.version.cuda},
        "seed": seed,
        "data": data,
    }
    return redact(described)
