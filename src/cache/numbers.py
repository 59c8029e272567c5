"""The memory of a cache, and what may be written into it."""

import torch
from torch import Tensor

from src.errors import UserError


def make_store(shape: tuple[int, ...], *, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Zeros, not what was left in memory: a masked key has weight 0, but 0 times NaN is NaN."""
    # A cache may have to grow inside inference mode and is cleared outside of it, which an inference tensor forbids.
    with torch.inference_mode(False):
        return torch.zeros(shape, dtype=dtype, device=device)


def check_sizes(**sizes: int) -> None:
    """Raises UserError that names the first size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f"cache: {name} ({size}) must be 1 or more.")


def check_input(k: Tensor, store: Tensor, *, rows: int) -> None:
    """Refuse what would be a wrong answer without a word.

    Raises:
        ValueError: k (B, K, T, E) is of another number of rows or type than the cache, or wants a gradient.
    """
    if k.shape[0] != rows:
        raise ValueError(f"k ({k.shape[0]} rows) must have the {rows} rows that were selected.")
    if k.dtype != store.dtype:
        raise ValueError(f"k ({k.dtype}) must have the type of the cache ({store.dtype}); make the cache with dtype.")
    if k.requires_grad:
        raise ValueError("A cache stores no gradients; run the network under torch.inference_mode().")


def recording(store: Tensor) -> bool:
    """Whether this Python code runs to be compiled or captured, so that its effects on the host happen only once."""
    if torch.compiler.is_compiling():
        return True
    return store.is_cuda and torch.cuda.is_current_stream_capturing()
