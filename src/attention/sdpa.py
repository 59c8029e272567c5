"""Attention by torch's scaled_dot_product_attention, never with a mask where none is needed.

Only without a mask is memory O(T): a (T, T) mask is the memory. So a whole causal sequence goes in as is_causal, a
single query without anything, and documents, where that pays, as one causal call each.

Documents of 230 tokens on average, H = 4, E = 64, forward + backward on one core of a Xeon with AMX, torch 2.13: the
time of one call with a mask over that of one call per document.

    B x T                           8 x 256   4 x 512   2 x 1024   1 x 2048   1 x 4096
    sum of lengths squared / B T²   0.63      0.55      0.35       0.21       0.10
    fp32                            0.9       1.4       2.6        4.6        9.0
    bf16                            0.6       0.8       1.6        2.9        6.3

The kernel reads grouped heads in place on a CPU (1.1 times the speed of expanded ones), forward and backward.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from src.attention.documents import Documents
from src.attention.inputs import check_inputs, repeat_heads
from src.attention.visible import visible_keys

# The first that can is taken. Stated, because the default order differs between versions and devices. On Hopper cuDNN
# has 1.7 to 2.3 times the speed of torch's flash kernel (transformers pull request 48163).
ORDER = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


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

    Windows, key_lengths, several documents per row on CUDA, and 1 < T < S take a mask of O(T S). With dropout a CPU
    computes all scores at once.
    """
    check_inputs(q, k, v, window=window, key_lengths=key_lengths)
    num_queries, num_keys = q.shape[2], k.shape[2]
    if window is not None and window >= num_keys:
        window, causal = None, True
    packed = Documents.of(documents)
    if packed is not None and key_lengths is None and num_queries == num_keys and readable(q):
        lengths = packed.lengths()
        if lengths is not None and len(lengths) == q.shape[0]:
            packed = None  # every row is one document
        elif lengths is not None and window is None and is_worth_splitting(lengths, q):
            return attend_each(q, k, v, lengths, causal=causal, dropout=dropout)
    if packed is None and key_lengths is None:
        if num_queries == 1:
            keys, values = (k, v) if window is None else (k[:, :, -window:], v[:, :, -window:])
            return kernel(q, keys, values, dropout=dropout)
        if window is None and (num_queries == num_keys or not causal):
            return kernel(q, k, v, causal=causal, dropout=dropout)
    seen = visible_keys(q, k, causal=causal, window=window, documents=packed, key_lengths=key_lengths)
    assert seen is not None
    if key_lengths is None:
        return kernel(q, k, v, mask=seen, dropout=dropout)
    # A row of the mask without any key gives NaN in some kernels: let it see all, then drop the answer.
    empty = ~seen.any(dim=-1, keepdim=True)
    return kernel(q, k, v, mask=seen | empty, dropout=dropout).masked_fill(empty, 0.0)


def readable(q: Tensor) -> bool:
    """Whether the host may look at lengths: on a GPU it would wait, under torch.compile they would be constants."""
    return q.device.type == "cpu" and not torch.compiler.is_compiling()


def is_worth_splitting(lengths: list[int], q: Tensor) -> bool:
    """Whether one call per document, about L (L + 256) each, beats one with a mask, 0.8 B T²; fitted to bf16 above."""
    return sum(length * (length + 256) for length in lengths) < 0.8 * q.shape[0] * q.shape[2] ** 2


def attend_each(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], *, causal: bool, dropout: float) -> Tensor:
    """One call per document, on views of the rows laid end to end; T = S.

    Split and concatenation undo each other in the backward. Slices would each fill a gradient of full size with zeros,
    which made this twice as slow as the mask.
    """
    # (B, H, T, E) as projections make it is a view of (B, T, H, E), so nothing is copied here.
    ends = (tensor.transpose(1, 2).flatten(0, 1).split(lengths) for tensor in (q, k, v))
    attended = [
        kernel(*(piece.transpose(0, 1)[None] for piece in pieces), causal=causal, dropout=dropout)[0].transpose(0, 1)
        for pieces in zip(*ends, strict=True)
    ]
    return torch.cat(attended).view(q.shape[0], q.shape[2], q.shape[1], q.shape[3]).transpose(1, 2)


def kernel(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, causal: bool = False, dropout: float
) -> Tensor:
    """The torch function, with the order of kernels on CUDA."""
    order: AbstractContextManager[Any] = nullcontext()
    if q.device.type == "cuda":
        # With a mask cuDNN gives NaN in the gradient of q where T % 128 == 64 (pytorch issue 196678).
        order = sdpa_kernel(ORDER if mask is None else ORDER[1:], set_priority=True)
        if mask is not None or q.dtype == torch.float32:
            # Of the kernels that take a mask or float32, only math knows grouped heads, and it keeps all scores.
            k, v = repeat_heads(q, k, v)
    with order:
        return scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1]
        )
