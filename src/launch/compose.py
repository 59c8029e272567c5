"""From Hydra's config to a plain dict, and the resolvers that conf/ may use."""

import secrets
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.check.global_batch import count_devices

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "conf"


def batches_for_tokens(
    tokens: int, batch_size: int, max_length: int, devices: Any, nodes: int, tensor_parallel_size: int = 1
) -> int:
    """Micro-batches per optimizer step that come nearest to `tokens`, at least one."""
    readers = count_devices(devices) * nodes // tensor_parallel_size
    return max(1, round(tokens / (batch_size * max_length * max(1, readers))))


def count_gpus(accelerator: str, devices: Any) -> int:
    """GPUs of one node: one per process, none for accelerator=cpu."""
    return 0 if accelerator == "cpu" else count_devices(devices)


def register_resolvers() -> None:
    """Make `${short_id:}` (8 hexadecimal characters, one per run) and the arithmetic of conf/ known."""
    OmegaConf.register_new_resolver("short_id", lambda: secrets.token_hex(4), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("batches_for_tokens", batches_for_tokens, replace=True)
    OmegaConf.register_new_resolver("device_count", count_devices, replace=True)
    OmegaConf.register_new_resolver("gpu_count", count_gpus, replace=True)


def plain(config: DictConfig) -> dict[str, Any]:
    """Every interpolation resolved, every node a dict, list, string, number or null."""
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
