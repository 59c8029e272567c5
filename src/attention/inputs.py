"""What every `attend` takes, and the refusal of what none of them could answer.

Legend: B batch, H query heads, K key-value heads (K divides H), T queries, S keys, E width of a head. q is
(B, H, T, E), k and v are (B, K, S, E), and query head h reads key-value head h // (H / K).

Law: the T queries are the last T of the S keys. With key_lengths (B,), row b has keys [0, key_lengths[b]) and its
queries are the last T of those; a query that falls before the first key sees none and returns zeros.

causal: a query sees no key behind itself. window: it sees the `window` keys that end with itself, so causal is implied.
documents (B, S): it sees keys whose number equals its own. dropout: share of the weights that are dropped.
"""

from torch import Tensor

from src.errors import UserError


def check_inputs(q: Tensor, k: Tensor, v: Tensor, *, window: int | None, key_lengths: Tensor | None) -> None:
    """Raises ValueError for shapes that do not fit, UserError for a window below 1; looks at no value of a tensor."""
    if q.dim() != 4 or k.dim() != 4 or k.shape != v.shape or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (q, k, v))
        raise ValueError(f"q, k, v ({shapes}) must be (B, H, T, E), (B, K, S, E) and (B, K, S, E).")
    if q.shape[1] % k.shape[1]:
        raise UserError(f"num_heads ({q.shape[1]}) must be a multiple of num_kv_heads ({k.shape[1]}).")
    if key_lengths is None and q.shape[2] > k.shape[2]:
        raise ValueError(f"q has {q.shape[2]} steps and k has {k.shape[2]}: the queries are the last of the keys.")
    if window is not None and window < 1:
        raise UserError(f"window ({window}) must be 1 or more; null lets a token see all before it.")


def repeat_heads(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """k and v with one head for every head of q: (B, H, S, E) each."""
    groups = q.shape[1] // k.shape[1]
    return (k, v) if groups == 1 else (k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1))


def refusal(name: str, reason: str) -> UserError:
    """The sentence of a choice that cannot compute what is asked of it."""
    return UserError(f"attention={name} cannot run here: {reason}; use attention=sdpa.")
