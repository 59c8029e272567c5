"""One vector per text from the outputs of its steps; padding stands behind the text and never counts.

Every pooling here but `last` ignores the order of the time steps, and `last` reads the last real step. So a reversed
direction, whose sequences were flipped inside their own lengths, is pooled as it is and never flipped back.
"""

import math
from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "masked_mean", "max", "mean_max", "last"]


def pool(sequence: Tensor, lengths: Tensor, pooling: Pooling) -> Tensor:
    """sequence (T, B, H), lengths (B,) -> float32 (B, H), or (B, 2 H) of mean and maximum for `mean_max`.

    `mean` is the mean over all T steps, padding included; the caller says so by passing lengths of T.
    """
    match pooling:
        case "mean" | "masked_mean":
            return mean(sequence, lengths)
        case "max":
            return maximum(sequence, lengths)
        case "mean_max":
            return torch.cat([mean(sequence, lengths), maximum(sequence, lengths)], dim=1)
        case "last":
            return last(sequence, lengths)


def mean(sequence: Tensor, lengths: Tensor) -> Tensor:
    """Sum over the real steps as one bmm with a row of zeros and ones, then a division in float32.

    The bmm reads the sequence once, in place: half the time of (sequence * mask).sum(0). Zeros and ones are exact
    in bfloat16, 1 / length is not: it would be off by up to 0.4 %, which is why the division comes after.
    """
    real = torch.arange(sequence.shape[0], device=sequence.device) < lengths[:, None]
    total = torch.bmm(real[:, None].to(sequence.dtype), sequence.transpose(0, 1))  # (B, 1, T) x (B, T, H)
    return total[:, 0].float() / lengths[:, None]


def maximum(sequence: Tensor, lengths: Tensor) -> Tensor:
    """Largest output over the real steps, of which every sequence has one; padding loses because it becomes -inf.

    Adding -inf to the padding and max() cost half of masked_fill and amax(), whose backward shares ties by division.
    """
    steps = torch.arange(sequence.shape[0], device=sequence.device)
    below = torch.where(steps[:, None] < lengths, 0.0, -math.inf).to(sequence.dtype)
    return (sequence + below[:, :, None]).max(dim=0).values.float()


def last(sequence: Tensor, lengths: Tensor) -> Tensor:
    """Output of the last real step, which is the final state of the direction."""
    index = (lengths - 1)[None, :, None].expand(1, -1, sequence.shape[2])
    return sequence.gather(0, index)[0].float()
