"""Attention by the flash-attn package: version 2, or version 4 (the flash-attn-4 wheel) on Hopper and later.

Nothing of the package is imported before the first call. What it cannot do is refused with the reason, never computed
by something else.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.attention import flash2, flash4
from src.attention.documents import Documents
from src.attention.inputs import check_inputs, refusal


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = True,
    window: int | None = None,
    documents: Tensor | Documents | None = None,
    key_lengths: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """q (B, H, T, E), k and v (B, K, S, E) -> (B, H, T, E); see inputs.py.

    Documents make the host wait for the device once per `Documents` object, for every call with a plain tensor.
    Raises UserError with the reason where the package is missing or cannot compute this.
    """
    check_inputs(q, k, v, window=window, key_lengths=key_lengths)
    version = choose_version(q.device)
    reason = obstacle(version, q.device, q.dtype, head_width=q.shape[3], dropout=dropout)
    packed = Documents.of(documents)
    reason = reason or unfit_mask(q, k, v, documents=packed, key_lengths=key_lengths)
    if reason is not None:
        raise refusal("flash", reason)
    arguments: dict[str, Any] = dict(causal=causal, window=window, documents=packed, key_lengths=key_lengths)
    if version == 2:
        return flash2.attend(q, k, v, **arguments, dropout=dropout)
    return flash4.attend(q, k, v, **arguments)


def find_installed() -> tuple[int, ...]:
    """Versions of the package whose files are there, found without importing them."""
    spec = importlib.util.find_spec("flash_attn")
    folders = [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or ()]
    found = []
    if any((folder / "flash_attn_interface.py").is_file() for folder in folders):
        found.append(2)
    # Releases of version 2 carry a copy of version 4's folder; without its compiler (cutlass) that one cannot run.
    if any((folder / "cute" / "interface.py").is_file() for folder in folders) and importlib.util.find_spec("cutlass"):
        found.append(4)
    return tuple(found)


# Looked up here and not per call, because torch.compile takes a module's constant but cannot trace the search.
INSTALLED = find_installed()


def choose_version(device: torch.device) -> int | None:
    """4 where it trains (Hopper and later), else 2; None if neither is installed."""
    if device.type == "cuda" and 4 in INSTALLED and (capability(device) >= 9 or 2 not in INSTALLED):
        return 4
    return INSTALLED[0] if INSTALLED else None


def capability(device: torch.device) -> int:
    """8 Ampere and Ada, 9 Hopper, 10 and more Blackwell."""
    # get_device_capability is the same, but torch.compile cannot trace it.
    return torch.cuda.get_device_properties(device).major


def obstacle(
    version: int | None, device: torch.device, dtype: torch.dtype, *, head_width: int, dropout: float
) -> str | None:
    """Why the package cannot run in this place; None if it can."""
    if version is None:
        return "neither flash-attn nor flash-attn-4 is installed"
    if device.type != "cuda":
        return f"it needs a CUDA device, and this one is {device.type}"
    least = 9 if version == 4 else 8
    if capability(device) < least:
        return f"flash-attn {version} needs compute capability {least}, and this device has {capability(device)}"
    if dtype not in (torch.bfloat16, torch.float16):
        return f"it takes bfloat16 and float16, and this is {str(dtype).removeprefix('torch.')} (precision=bf16 helps)"
    widest = 128 if version == 4 and capability(device) > 9 else 256
    if head_width % 8 or head_width > widest:
        return f"heads must be a multiple of 8 and at most {widest} wide, and these are {head_width}"
    if version == 4 and dropout > 0:
        return f"flash-attn 4 has no dropout, and attention_dropout is {dropout}"
    return None


def unfit_mask(
    q: Tensor, k: Tensor, v: Tensor, *, documents: Documents | None, key_lengths: Tensor | None
) -> str | None:
    """Why the package cannot compute this mask; None if it can."""
    if documents is not None and (key_lengths is not None or q.shape[2] != k.shape[2]):
        return "it takes documents only where every key has its query"
    if documents is not None and documents.lengths() is None:
        return "it takes contiguous documents, and a number returns later in its row"
    if key_lengths is not None and torch.is_grad_enabled() and any(part.requires_grad for part in (q, k, v)):
        return "it has no gradients with key_lengths"
    return None
