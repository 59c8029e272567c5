"""The attention half of a block: queries, keys and values by one matrix, rotated, attended, and mixed back.

Legend: B batch, T steps of this forward, S keys, D model width, H query heads, K key-value heads, E head width.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from src.attention.documents import Documents
from src.model.norm import RMSNorm
from src.model.rotary import rotate

# Puts keys and values (B, K, T, E) behind those of earlier steps; returns all of them, (B, K, S, E).
Extend = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Scope(NamedTuple):
    """What all blocks of one forward share: where its steps stand, and which keys they may see."""

    cos: Tensor  # (T, 1, E), or (B, T, 1, E) where rows stand at different positions
    sin: Tensor
    causal: bool
    documents: Documents | None
    key_lengths: Tensor | None  # (B,)


class SelfAttention(nn.Module):
    """Multi-head attention; fewer key-value heads than query heads is grouped-query attention (arXiv:2305.13245)."""

    def __init__(
        self,
        width: int,
        *,
        num_heads: int,
        num_kv_heads: int,
        head_width: int,
        qk_norm: bool,
        norm_epsilon: float,
        window: int | None,
        dropout: float,
        attend: Callable[..., Tensor],
    ) -> None:
        """qk_norm: RMSNorm of every query and key head before it is rotated (Dehghani et al. 2023, arXiv:2302.05442).

        attend: one of src.attention. dropout: on the attention weights.
        """
        super().__init__()
        self.sizes = [num_heads * head_width, num_kv_heads * head_width, num_kv_heads * head_width]
        self.qkv = nn.Linear(width, sum(self.sizes), bias=False)  # rows: query heads, key heads, value heads
        self.out = nn.Linear(num_heads * head_width, width, bias=False)
        self.q_norm = RMSNorm(head_width, epsilon=norm_epsilon) if qk_norm else None
        self.k_norm = RMSNorm(head_width, epsilon=norm_epsilon) if qk_norm else None
        self.head_width, self.window, self.dropout, self.attend = head_width, window, dropout, attend

    def forward(self, x: Tensor, scope: Scope, extend: Extend | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        parts = torch.split(self.qkv(x), self.sizes, dim=-1)
        q, k, v = (part.unflatten(-1, (-1, self.head_width)) for part in parts)  # (B, T, heads, E)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, scope.cos, scope.sin), rotate(k, scope.cos, scope.sin)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if extend is not None:
            k, v = extend(k, v)
        mixed = self.attend(
            q,
            k,
            v,
            causal=scope.causal,
            window=self.window,
            documents=scope.documents,
            key_lengths=scope.key_lengths,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.out(mixed.transpose(1, 2).flatten(2))
