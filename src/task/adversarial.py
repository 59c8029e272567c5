"""Adversarial training of a text classifier: the loss where each review's embedded words stand in the worst direction.

Formula (Miyato, Dai, Goodfellow 2017, arXiv:1605.07725, section 3): for a review with embedded words s (T, D),
    r = epsilon * g / |g|,  g = gradient of the loss with respect to s,  loss = (L(s) + L(s + r)) / 2.
The paper normalises the embeddings to unit variance first. Here they stay as they are and epsilon is multiplied by
their root mean square over the micro-batch of this process, so that the paper's epsilon of 5 means the same and a
model trained this way predicts like any other. The gradients of L(s) are computed once, for r and for the weights:
twice the time of a plain step and not three times. Legend: B reviews, T steps, D width of the embedding.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from src.errors import UserError
from src.model.bilstm import PADDING, BiLSTM


def adversarial_loss(
    network: nn.Module, ids: Tensor, lengths: Tensor, *, loss: Callable[[Tensor], Tensor], epsilon: float
) -> Tensor:
    """Mean of the loss on each review and on its worst neighbour, () float32, differentiable once.

    ids (B, T), lengths (B,); `loss` takes the network's logits (B, C). The network must use the ids for nothing but
    its `embedding`. Raises UserError for token dropout, which tells the words by their ids.
    """
    if isinstance(network, BiLSTM) and network.token_dropout > 0:
        raise UserError(
            f"token_dropout ({network.token_dropout}) does not go together with adversarial training, which gives each "
            "word a row of its own; use embedding_dropout."
        )
    embed = network.get_submodule("embedding")
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    embedded = embed(ids)
    clean = loss(read_apart(network, embedded, lengths))
    slope, *gradients = torch.autograd.grad(clean, [embedded, *trained])
    step = worst_step(slope, embedded.detach(), lengths, epsilon=epsilon)
    moved = loss(read_apart(network, embed(ids) + step, lengths))
    return (Known.apply(clean.detach(), gradients, *trained) + moved) / 2


def worst_step(slope: Tensor, embedded: Tensor, lengths: Tensor, *, epsilon: float) -> Tensor:
    """(B, T, D): along each review's slope, as long as epsilon root mean squares of the real words' embeddings."""
    real = real_steps(embedded, lengths)[:, :, None]
    scale = (embedded.square() * real).sum() / (real.sum() * embedded.shape[2])
    # A review that the loss does not depend on has no direction, and stays where it is.
    direction = F.normalize((slope * real).flatten(1), dim=1, eps=1e-20).view_as(slope)
    return direction * (epsilon * scale.sqrt())


def read_apart(network: nn.Module, embedded: Tensor, lengths: Tensor) -> Tensor:
    """The network's logits with `embedded` (B, T, D) in place of the words' rows: a table with a row per position."""
    table = torch.cat([embedded.new_zeros(1, embedded.shape[2]), embedded.flatten(0, 1)])
    rows = torch.arange(1, len(table), device=embedded.device).view(embedded.shape[:2])
    ids = rows.where(real_steps(embedded, lengths), PADDING)
    return functional_call(network, {"embedding.weight": table}, (ids, lengths))


def real_steps(embedded: Tensor, lengths: Tensor) -> Tensor:
    """(B, T), False behind each review's end."""
    return torch.arange(embedded.shape[1], device=embedded.device) < lengths[:, None]


class Known(torch.autograd.Function):
    """A value whose gradients are known already, so that one backward adds them to those of other terms."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return None, None, *(known * gradient for known in ctx.gradients)
