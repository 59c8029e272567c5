"""The next token from the logits: penalty, temperature, top-k, top-p, min-p in this order, then one draw.

Legend: B rows, V vocabulary. Each filter sets the logits of the tokens it removes to minus infinity; what is left is
drawn in proportion to its probability. The order is that of Hugging Face `transformers`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """How tokens are chosen; None and 1.0 leave a filter out.

    temperature: logits are divided by it; 0 takes the most probable token (greedy).
    top_k: the k most probable (Fan et al. 2018, arXiv:1805.04833, section 5.1; ties with the last are kept).
    top_p: the fewest most probable that together have at least this probability (Holtzman et al. 2020,
        arXiv:1904.09751, section 3.1).
    min_p: those at least this share as probable as the most probable (Nguyen et al. 2024, arXiv:2407.01082, section 3).
    repetition_penalty: positive logits of tokens that stand in the text so far are divided by it, negative ones
        multiplied (Keskar et al. 2019, arXiv:1909.05858, section 4.1, made to work for both signs).

    Raises:
        UserError: a value out of its range, or a filter that greedy decoding would ignore.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature ({self.temperature}) must be 0 or more; 0 takes the most probable token.")
        if not 0 < self.repetition_penalty < float("inf"):
            raise UserError(f"repetition_penalty ({self.repetition_penalty}) must be above 0; 1 leaves it out.")
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"top_k ({self.top_k}) must be 1 or more, or null to leave it out.")
        for name in ("top_p", "min_p"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise UserError(f"{name} ({value}) must be above 0 and at most 1, or null to leave it out.")
        for name in ("top_k", "top_p", "min_p"):
            if self.temperature == 0 and getattr(self, name) is not None:
                raise UserError(
                    f"{name} ({getattr(self, name)}) has no effect with temperature=0, which takes the most probable "
                    "token; leave one of the two out."
                )

    @property
    def penalises(self) -> bool:
        """Whether `seen` is looked at."""
        return self.repetition_penalty != 1

    def __call__(self, logits: Tensor, *, seen: Tensor | None, generators: Sequence[torch.Generator]) -> Tensor:
        """logits (B, V), seen (B, V) true for tokens of the text so far, one generator per row -> tokens (B,) int64.

        A row's draw depends on its own logits and its own generator alone. Nothing waits for the device.
        """
        scores = logits.float()
        if self.penalises:
            assert seen is not None
            scores = penalise(scores, seen, self.repetition_penalty)
        if self.temperature == 0:
            return scores.max(dim=-1).indices  # on a CPU a third of the time of argmax
        return draw(self.filter(scores / self.temperature), generators)

    def filter(self, scores: Tensor) -> Tensor:
        """scores (B, V) with minus infinity for what may not be drawn."""
        if self.top_k is not None:
            scores = keep_top_k(scores, self.top_k)
        if self.top_p is not None:
            scores = keep_top_p(scores, self.top_p)
        if self.min_p is not None:
            scores = keep_min_p(scores, self.min_p)
        return scores


def penalise(scores: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """s / penalty where s > 0 and s * penalty elsewhere, for the tokens seen."""
    return torch.where(seen, torch.where(scores > 0, scores / penalty, scores * penalty), scores)


def keep_top_k(scores: Tensor, k: int) -> Tensor:
    last = scores.topk(min(k, scores.shape[-1]), dim=-1).values[..., -1:]
    return scores.masked_fill(scores < last, -torch.inf)


def keep_top_p(scores: Tensor, p: float) -> Tensor:
    """The smallest set of most probable tokens with probability p or more; the first one always stays."""
    ordered, order = scores.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    # Without the first column a rounding error of `before` could remove everything.
    removed = before >= p
    removed[..., 0] = False
    return scores.masked_fill(removed.scatter(-1, order, removed), -torch.inf)


def keep_min_p(scores: Tensor, p: float) -> Tensor:
    """probability >= p * largest probability, in logarithms."""
    least = scores.amax(dim=-1, keepdim=True) + math.log(p)
    return scores.masked_fill(scores < least, -torch.inf)


def draw(scores: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """argmax(log p - log e) with e ~ Exp(1) is a draw from p: of exponential clocks with rates p the first to ring.

    `torch.multinomial` would make the host wait for the device, and would draw all rows from one generator.
    """
    noise = torch.empty_like(scores)
    for row, generator in zip(noise, generators, strict=True):
        row.exponential_(generator=generator)
    return (scores - noise.log()).argmax(dim=-1)
