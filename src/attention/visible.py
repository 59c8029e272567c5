"""Which keys a query may see, as a tensor of booleans; the legend and the law stand in inputs.py."""

import torch
from torch import Tensor

from src.attention.documents import Documents


def visible_keys(
    q: Tensor,
    k: Tensor,
    *,
    causal: bool,
    window: int | None,
    documents: Documents | None,
    key_lengths: Tensor | None,
) -> Tensor | None:
    """(1, 1, T, S), or (B, 1, T, S) if rows differ; None where every query sees every key."""
    num_queries, num_keys = q.shape[2], k.shape[2]
    key = torch.arange(num_keys, device=q.device)
    position = query_positions(num_queries, num_keys, key_lengths, device=q.device)
    rules = []
    if causal or window is not None:
        rules.append(key <= position)
    if window is not None:
        rules.append(key > position - window)
    if key_lengths is not None:
        rules.append((key < key_lengths[:, None, None, None]) & (position >= 0))
    if documents is not None:
        rules.append(same_document(documents.numbers, position))
    if not rules:
        return None
    seen = rules[0]
    for rule in rules[1:]:
        seen = seen & rule
    return seen


def query_positions(num_queries: int, num_keys: int, key_lengths: Tensor | None, *, device: torch.device) -> Tensor:
    """(1, 1, T, 1), or (B, 1, T, 1) with key_lengths: the key that each query stands at; negative before the first."""
    query = torch.arange(num_queries, device=device)[None, None, :, None]
    ends = num_keys if key_lengths is None else key_lengths[:, None, None, None]
    return query + (ends - num_queries)


def same_document(numbers: Tensor, position: Tensor) -> Tensor:
    """numbers (B, S), position (1 or B, 1, T, 1) -> (B, 1, T, S)."""
    index = position[:, 0, :, 0].clamp(min=0).expand(len(numbers), -1)
    return numbers.gather(1, index)[:, None, :, None] == numbers[:, None, None, :]
