"""From Hydra's config to a plain dict, and the resolvers that conf/ may use."""

import secrets
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "conf"


def count_devices(devices: Any) -> int:
    """Devices of one node: a number, or as many as are listed; a word like auto counts as one."""
    if isinstance(devices, int):
        return devices
    return 1 if isinstance(devices, str) else len(devices)


def batches_for_tokens(tokens: int, batch_size: int, max_length: int, devices: Any, nodes: int) -> int:
    """Micro-batches per optimizer step that come nearest to `tokens`, at least one."""
    processes = count_devices(devices) * nodes
    return max(1, round(tokens / (batch_size * max_length * processes)))


def register_resolvers() -> None:
    """Make `${short_id:}` (8 hexadecimal characters, one per run) and `${batches_for_tokens:...}` known."""
    OmegaConf.register_new_resolver("short_id", lambda: secrets.token_hex(4), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("batches_for_tokens", batches_for_tokens, replace=True)


def plain(config: DictConfig) -> dict[str, Any]:
    """Every interpolation resolved, every node a dict, list, string, number or null."""
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
