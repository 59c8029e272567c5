"""Rotary position embedding: queries and keys turn by an angle that grows with their position.

So the product of a query and a key depends on their distance alone (Su et al. 2021, arXiv:2104.09864). Feature i is
paired with feature i + E/2, the convention of Hugging Face's checkpoints, so no weight has to be permuted.

Legend: B batch, H heads, T steps, E head width, S the most positions a network may see.
"""

import math
from collections.abc import Callable
from typing import Annotated, Self, TypedDict, get_type_hints

import torch
from torch import Tensor, nn

from src.errors import UserError


class Llama3Scaling(TypedDict):
    """Stretches a network trained on `original_max_length` positions to about `factor` times as many (Llama 3.1)."""

    factor: Annotated[float, "> 0"]
    low_frequency_factor: Annotated[float, "> 0"]
    high_frequency_factor: Annotated[float, "> 0"]
    original_max_length: Annotated[int, ">= 1"]


class Rotary(nn.Module):
    """`rotary(positions)` -> cosines and signed sines for `rotate`; the tables follow from the settings alone."""

    cos: Tensor
    sin: Tensor

    def __init__(self, head_width: int, *, max_length: int, base: float, scaling: Llama3Scaling | None) -> None:
        super().__init__()
        check_scaling(scaling)
        self.head_width, self.max_length, self.base, self.scaling = head_width, max_length, base, scaling
        # Not in the state dict: they are no weights, and a checkpoint must load into a longer table.
        for name in ("cos", "sin"):
            self.register_buffer(name, torch.empty(max_length, head_width, dtype=torch.float32), persistent=False)
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Fill the tables in place, float32, on whatever device they are."""
        turns = frequencies(self.head_width, base=self.base, scaling=self.scaling).to(self.cos.device)
        angle = torch.outer(torch.arange(self.max_length, device=turns.device, dtype=torch.float32), turns)
        self.cos.copy_(torch.cat([angle.cos(), angle.cos()], dim=1))
        # The sign of the pair's first half is kept here, so that turning needs no negation.
        self.sin.copy_(torch.cat([-angle.sin(), angle.sin()], dim=1))

    def forward(self, steps: int, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tables of `steps` positions from 0: (T, 1, E); from lengths (B,), each row its own: (B, T, 1, E)."""
        if lengths is None:
            return self.cos[:steps, None], self.sin[:steps, None]
        positions = lengths[:, None] + torch.arange(steps, device=lengths.device)
        return self.cos[positions][:, :, None], self.sin[positions][:, :, None]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """`to(bfloat16)` would round the tables for good: they follow to a device and keep their type."""
        cos, sin = self.cos, self.sin
        super()._apply(fn, recurse)
        if self.cos.dtype != torch.float32:
            self.cos, self.sin = cos.to(self.cos.device), sin.to(self.sin.device)
        return self


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (B, T, H, E) turned by its positions: (x1 cos - x2 sin, x2 cos + x1 sin) for the halves x1, x2 of a head.

    The tables are computed in float32 and rounded to the type of x, as x itself was. Rolling the head by its half is
    the fastest way to bring the partners together on a CPU: 7.0 ms for queries and keys of 2,048 tokens, forward and
    backward, where cutting and joining takes 8.6.
    """
    return x * cos.to(x.dtype) + x.roll(x.shape[-1] // 2, -1) * sin.to(x.dtype)


def frequencies(head_width: int, *, base: float, scaling: Llama3Scaling | None) -> Tensor:
    """(E / 2,) radians per position: base^(-2 i / E) for pair i, in float32 as published checkpoints were trained.

    With `scaling` (Llama 3.1, meta-llama/llama-models, apply_scaling): pairs that turn more than high_frequency_factor
    times within original_max_length keep their frequency, those that turn less than low_frequency_factor times are
    slowed down by `factor`, and between the two the frequency is interpolated.
    """
    turns = 1.0 / base ** (torch.arange(0, head_width, 2, device="cpu").float() / head_width)
    if scaling is None:
        return turns
    low, high = scaling["low_frequency_factor"], scaling["high_frequency_factor"]
    rounds = scaling["original_max_length"] / (2 * math.pi / turns)
    kept = ((rounds - low) / (high - low)).clamp(0, 1)
    return turns * kept + turns / scaling["factor"] * (1 - kept)


def check_scaling(scaling: Llama3Scaling | None) -> None:
    """Raises UserError that names what is missing, unknown or out of order."""
    if scaling is None:
        return
    names = set(get_type_hints(Llama3Scaling))
    if set(scaling) != names:
        raise UserError(f"rotary_scaling ({', '.join(scaling)}) must be null or give {', '.join(sorted(names))}.")
    if not 0 < scaling["low_frequency_factor"] < scaling["high_frequency_factor"]:
        raise UserError(
            f"rotary_scaling.low_frequency_factor ({scaling['low_frequency_factor']}) must lie above 0 and below "
            f"high_frequency_factor ({scaling['high_frequency_factor']})."
        )
    if scaling["factor"] <= 0 or scaling["original_max_length"] < 1:
        raise UserError(
            f"rotary_scaling.factor ({scaling['factor']}) must be above 0 and original_max_length "
            f"({scaling['original_max_length']}) 1 or more."
        )
