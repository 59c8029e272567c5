"""Attention by whatever is fastest for these inputs on this device, decided per call without looking at a value."""

from collections.abc import Callable

import torch
from torch import Tensor

from src.attention import flash, flex, sdpa
from src.attention.documents import Documents


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
    """q (B, H, T, E), k and v (B, K, S, E) -> (B, H, T, E); see inputs.py."""
    choice = choose(q, k, window=window, documents=documents, key_lengths=key_lengths, dropout=dropout)
    return choice(q, k, v, causal=causal, window=window, documents=documents, key_lengths=key_lengths, dropout=dropout)


def choose(
    q: Tensor,
    k: Tensor,
    *,
    window: int | None,
    documents: Tensor | Documents | None,
    key_lengths: Tensor | None,
    dropout: float,
) -> Callable[..., Tensor]:
    """The `attend` to call. Decoding (T < S, key_lengths) is sdpa's: flex would compile anew as the keys grow."""
    num_queries, num_keys = q.shape[2], k.shape[2]
    if q.device.type != "cuda" or key_lengths is not None or num_queries != num_keys or num_queries == 1:
        return sdpa.attend
    if documents is None and is_flash_best(q.device, q.dtype, head_width=q.shape[3], dropout=dropout):
        return flash.attend
    masked = documents is not None or (window is not None and window < num_keys)
    # FlexAttention's kernels begin at heads of 16.
    return flex.attend if masked and dropout == 0 and q.shape[3] >= 16 else sdpa.attend


def is_flash_best(device: torch.device, dtype: torch.dtype, *, head_width: int, dropout: float) -> bool:
    """Whether flash-attn can run, and is not version 2 on Hopper: there cuDNN has 1.6 times its speed.

    (FlashAttention-3, arXiv:2407.08608: forward, causal, heads of 128, 2k to 16k tokens.)
    """
    version = flash.choose_version(device)
    if flash.obstacle(version, device, dtype, head_width=head_width, dropout=dropout) is not None:
        return False
    return version == 4 or flash.capability(device) < 9


def explain(device: torch.device, dtype: torch.dtype, *, head_width: int = 64, dropout: float = 0.0) -> str:
    """One line for the start of a run: what attention=auto takes on this device, and why not flash-attn."""
    if device.type != "cuda":
        return f"attention=auto takes sdpa on this device ({device.type})."
    masked = "flex for documents and windows" if dropout == 0 else "sdpa for documents and windows as well"
    version = flash.choose_version(device)
    if is_flash_best(device, dtype, head_width=head_width, dropout=dropout):
        return f"attention=auto takes flash-attn {version}, {masked}, sdpa for decoding."
    reason = flash.obstacle(version, device, dtype, head_width=head_width, dropout=dropout)
    return f"attention=auto takes sdpa ({reason or 'faster here than flash-attn 2'}), {masked}."
