"""Attention as its formula: all scores at once, every mask written out. The reference for the others.

softmax(q kᵀ / √E) v (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1). Memory grows with B H T S.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from src.attention.documents import Documents
from src.attention.inputs import check_inputs, repeat_heads
from src.attention.visible import visible_keys


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
    """q (B, H, T, E), k and v (B, K, S, E) -> (B, H, T, E); see inputs.py. Half inputs are computed in float32."""
    check_inputs(q, k, v, window=window, key_lengths=key_lengths)
    precise = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        keys, values = (tensor.to(precise) for tensor in repeat_heads(q, k, v))
        scores = q.to(precise) @ keys.mT / math.sqrt(q.shape[3])  # (B, H, T, S)
        seen = visible_keys(
            q, k, causal=causal, window=window, documents=Documents.of(documents), key_lengths=key_lengths
        )
        if seen is not None:
            # Not -inf: in a row without any key the softmax and its gradient would be NaN.
            scores = scores.masked_fill(~seen, torch.finfo(precise).min)
        weights = scores.softmax(dim=-1)
        if seen is not None and key_lengths is not None:
            weights = weights.masked_fill(~seen.any(dim=-1, keepdim=True), 0.0)
        return (functional.dropout(weights, dropout) @ values).to(q.dtype)
