"""A cache in the sizes of a network."""

from collections.abc import Callable

import torch

from src.cache.protocol import Cache
from src.model.decoder import Decoder


def make_cache(network: Decoder, kind: Callable[..., Cache], *, slots: int, max_length: int) -> Cache:
    """`kind` is a cache class, or one with settings bound; keys have the type of the weights, or that of autocast."""
    weight = network.embedding.weight
    device = weight.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    return kind(
        num_layers=len(network.blocks),
        num_kv_heads=network.num_kv_heads,
        head_width=network.head_width,
        max_length=max_length,
        slots=slots,
        dtype=dtype,
        device=weight.device,
    )
