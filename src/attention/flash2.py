"""flash-attn 2 (Dao 2023, arXiv:2307.08691) called with this project's law; its layout is (B, T, H, E).

Its own law is ours: with T < S the queries are the last, and head h reads key-value head h // (H / K).
"""

from torch import Tensor

from src.attention.documents import Documents


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool,
    window: int | None,
    documents: Documents | None,
    key_lengths: Tensor | None,
    dropout: float,
) -> Tensor:
    """See flash.py, which has refused what this cannot compute."""
    from flash_attn import flash_attn_func, flash_attn_varlen_func, flash_attn_with_kvcache

    # It counts the keys before and behind a query's own, -1 for all of them.
    rule = {"causal": causal or window is not None, "window_size": (-1, -1) if window is None else (window - 1, 0)}
    q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
    if key_lengths is not None:
        lengths = key_lengths.int()
        return flash_attn_with_kvcache(q, k, v, cache_seqlens=lengths, **rule).transpose(1, 2)
    if documents is None:
        return flash_attn_func(q, k, v, dropout_p=dropout, **rule).transpose(1, 2)
    boundaries = documents.boundaries()
    attended = flash_attn_varlen_func(
        *(tensor.flatten(0, 1) for tensor in (q, k, v)),
        cu_seqlens_q=boundaries,
        cu_seqlens_k=boundaries,
        # An upper bound is enough, and unlike the longest document it is the same in every step.
        max_seqlen_q=q.shape[1],
        max_seqlen_k=q.shape[1],
        dropout_p=dropout,
        **rule,
    )
    return attended.view(q.shape).transpose(1, 2)
