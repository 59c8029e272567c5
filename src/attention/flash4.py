"""flash-attn 4 as an operator of torch, so that torch.compile sees through it; its layout is (B, T, H, E).

The package does not register its functions with torch. Its releases differ in how many values they return and in the
order of arguments, so everything is passed by name and only the first values are read.
"""

from typing import Any

import torch
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
) -> Tensor:
    """See flash.py, which has refused what this cannot compute."""
    lengths = None if key_lengths is None else key_lengths.int()
    q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
    if documents is None:
        return forward(q, k, v, causal, window, None, lengths)[0].transpose(1, 2)
    flat = (tensor.flatten(0, 1) for tensor in (q, k, v))
    attended, _ = forward(*flat, causal, window, documents.boundaries(), None, longest=q.shape[1])
    return attended.view(q.shape).transpose(1, 2)


@torch.library.custom_op("recipe::flash_attention_4", mutates_args=())
def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    causal: bool,
    window: int | None,
    boundaries: Tensor | None,
    lengths: Tensor | None,
    longest: int = 0,
) -> tuple[Tensor, Tensor]:
    """(attended, log of the softmax's denominator). boundaries: of documents in q (N, H, E); lengths: keys per row."""
    from flash_attn.cute import flash_attn_func, flash_attn_varlen_func

    rule = window_rule(causal, window)
    if boundaries is not None:
        packed = {"cu_seqlens_q": boundaries, "cu_seqlens_k": boundaries}
        returned = flash_attn_varlen_func(
            q, k, v, **packed, max_seqlen_q=longest, max_seqlen_k=longest, return_lse=True, **rule
        )
    elif lengths is not None:
        returned = flash_attn_varlen_func(q, k, v, seqused_k=lengths, return_lse=True, **rule)
    else:
        returned = flash_attn_func(q, k, v, return_lse=True, **rule)
    return returned[0], returned[1]


@forward.register_fake
def _(q, k, v, causal, window, boundaries, lengths, longest=0):  # type: ignore[no-untyped-def]
    """Shapes and types of what `forward` returns."""
    *rows, steps, heads, _ = q.shape
    return q.new_empty(q.shape), q.new_empty((*rows, heads, steps), dtype=torch.float32)


@torch.library.custom_op("recipe::flash_attention_4_backward", mutates_args=())
def backward(
    d_attended: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attended: Tensor,
    log_sum: Tensor,
    causal: bool,
    window: int | None,
    boundaries: Tensor | None,
    longest: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v; the package has no public name for it."""
    from flash_attn.cute.interface import _flash_attn_bwd

    rule = window_rule(causal, window)
    left, right = rule.pop("window_size")
    packed: dict[str, Any] = {}
    if boundaries is not None:
        packed = {"cu_seqlens_q": boundaries, "cu_seqlens_k": boundaries}
        packed |= {"max_seqlen_q": longest, "max_seqlen_k": longest}
    returned = _flash_attn_bwd(
        q=q,
        k=k,
        v=v,
        out=attended,
        dout=d_attended.contiguous(),
        lse=log_sum,
        window_size_left=left,
        window_size_right=right,
        **rule,
        **packed,
    )
    return returned[0], returned[1], returned[2]


@backward.register_fake
def _(d_attended, q, k, v, attended, log_sum, causal, window, boundaries, longest=0):  # type: ignore[no-untyped-def]
    """Shapes and types of what `backward` returns."""
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    q, k, v, ctx.causal, ctx.window, boundaries, _, ctx.longest = inputs
    ctx.save_for_backward(q, k, v, *output, boundaries)


def _differentiate(ctx, d_attended, d_log_sum):  # type: ignore[no-untyped-def]
    q, k, v, attended, log_sum, boundaries = ctx.saved_tensors
    gradients = backward(d_attended, q, k, v, attended, log_sum, ctx.causal, ctx.window, boundaries, ctx.longest)
    return *gradients, None, None, None, None, None


forward.register_autograd(_differentiate, setup_context=_keep)


def window_rule(causal: bool, window: int | None) -> dict[str, Any]:
    """Its count of keys before and behind a query's own; None is all of them."""
    return {"causal": causal or window is not None, "window_size": (None, None) if window is None else (window - 1, 0)}
