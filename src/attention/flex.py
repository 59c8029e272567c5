"""Attention by torch's FlexAttention: a kernel compiled for the mask, which skips the blocks that nobody sees.

Trains on CUDA devices. On a CPU torch has no backward of it: there it computes the forward alone, all scores at once.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from src.attention.documents import Documents
from src.attention.inputs import check_inputs, refusal

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


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

    Raises UserError for dropout, and for gradients on a CPU.
    """
    check_inputs(q, k, v, window=window, key_lengths=key_lengths)
    reason = obstacle(q.device, dropout=dropout, gradients=q.requires_grad or k.requires_grad or v.requires_grad)
    if reason is not None:
        raise refusal("flex", reason)
    packed = Documents.of(documents)
    sizes = (q.shape[2], k.shape[2])
    rules: dict[str, Any] = {"causal": causal, "window": window, "device": q.device}
    if packed is None and key_lengths is None:
        mask = repeated_mask(*sizes, **rules)
    elif packed is None or key_lengths is not None:
        mask = build_mask(*sizes, documents=packed, key_lengths=key_lengths, **rules)
    else:
        mask = packed.once(("flex", sizes, causal, window), lambda: build_mask(*sizes, documents=packed, **rules))
    # Inside a compiled network it is compiled with the rest.
    kernel: Any = flex_attention if torch.compiler.is_compiling() else compiled(q.device.type)
    return kernel(q, k, v, block_mask=mask, enable_gqa=q.shape[1] != k.shape[1])


def obstacle(device: torch.device, *, dropout: float, gradients: bool) -> str | None:
    """Why it cannot run in this place; None if it can."""
    if dropout > 0:
        return f"it has no dropout, and attention_dropout is {dropout}"
    if device.type == "cpu" and gradients:
        return "on a CPU torch computes its forward only, no gradients"
    return None


@functools.cache
def compiled(device_type: str) -> Callable[..., Tensor]:
    """The kernel for a kind of device; compiled at its first call, once per process and kind of shape."""
    # Without a compiler torch warns and computes the same; "eager" is that, said on purpose.
    return torch.compile(flex_attention, backend="inductor" if device_type == "cuda" else "eager")


def repeated_mask(
    num_queries: int, num_keys: int, *, causal: bool, window: int | None, device: torch.device
) -> BlockMask | None:
    """The mask of every layer and step of a run; None where every query sees every key."""
    if not causal and window is None:
        return None
    build = build_mask if torch.compiler.is_compiling() else remembered_mask
    return build(num_queries, num_keys, causal=causal, window=window, device=device)


def build_mask(
    num_queries: int,
    num_keys: int,
    *,
    causal: bool,
    window: int | None,
    documents: Documents | None = None,
    key_lengths: Tensor | None = None,
    device: torch.device,
) -> BlockMask:
    """The blocks of 128 queries x 128 keys that somebody sees, and the rule inside them."""
    numbers = None if documents is None else documents.numbers
    rule = make_rule(num_queries, num_keys, causal=causal, window=window, numbers=numbers, key_lengths=key_lengths)
    rows = next((len(given) for given in (numbers, key_lengths) if given is not None), None)
    # Uncompiled, it writes every pair of the (T, S) mask to memory.
    create: Any = create_block_mask
    if device.type == "cuda" and not torch.compiler.is_compiling():
        create = compiled_create()
    return create(rule, rows, None, num_queries, num_keys, device=device)


remembered_mask = functools.lru_cache(maxsize=8)(build_mask)


@functools.cache
def compiled_create() -> Callable[..., BlockMask]:
    return torch.compile(create_block_mask)


def make_rule(
    num_queries: int,
    num_keys: int,
    *,
    causal: bool,
    window: int | None,
    numbers: Tensor | None,
    key_lengths: Tensor | None,
) -> Rule:
    """Whether a query of a row sees a key, for indices of any shape: the law of inputs.py, pair by pair."""

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        end = num_keys if key_lengths is None else key_lengths[row]
        position = query + (end - num_queries)
        seen = (position >= 0) & (key < end)
        if causal or window is not None:
            seen = seen & (key <= position)
        if window is not None:
            seen = seen & (key > position - window)
        if numbers is not None:
            seen = seen & (numbers[row, key] == numbers[row, position.clamp(min=0)])
        return seen

    return sees
