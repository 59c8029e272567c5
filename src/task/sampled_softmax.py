"""Cross-entropy over a random part of the vocabulary, for losses whose full softmax would cost more than the network.

Every word w but padding is in the sample on its own with a known probability pi_w, and all targets share one sample C.
The loss is the cross-entropy of the target among C and itself, with every logit corrected by -log pi_w (Jean et al.
2015, section 3, arXiv:1412.2007, has -log of the proposal's probability there). Given C the probability that y is the
target is proportional to P(y) / pi_y, so the minimum is the full softmax, whatever the size of the sample.

Legend: N targets, V words, S words in the sample, D width of the embedding.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from src.model.recurrent_lm import zipf

PADDING = 0
# 512 rows of 1,024 logits in float32 are 2 MiB, the second-level cache of a server core.
CHUNK = 512


def inclusion(vocab_size: int, num_samples: int) -> Tensor:
    """(V,) float32: probability that each word is in the sample, 1 - exp(-c q) of Zipf's q, num_samples in the mean.

    Word i must be the i-th most frequent one. The most frequent words come out close to 1, so they are nearly always
    among the negatives and hardly corrected; padding never is.
    """
    share = zipf(vocab_size).double()
    low, high = 0.0, 1e9 * vocab_size
    for _ in range(200):
        middle = (low + high) / 2
        enough = float(-torch.expm1(-middle * share).sum()) > num_samples
        low, high = (low, middle) if enough else (middle, high)
    return -torch.expm1(-high * share).float()


def correction(probabilities: Tensor) -> Tensor:
    """(V,) log pi, finite for padding too, which never uses it."""
    return probabilities.clamp(min=1e-30).log()


def draw(probabilities: Tensor) -> Tensor:
    """(S,) int64: the words of one sample, each independently of the others."""
    # In float32 whatever the module runs in: bfloat16 draws in steps of 1/256, more than most probabilities here.
    return (torch.rand(probabilities.shape, device=probabilities.device) < probabilities).nonzero()[:, 0]


def sampled_loss(
    features: Tensor, targets: Tensor, table: Tensor, bias: Tensor, sample: Tensor, correction: Tensor
) -> Tensor:
    """Sum over the targets that are not padding, float32 ().

    features (N, D), targets (N,), table (V, D), bias (V,), sample (S,) distinct words, correction (V,) log pi.
    Products run in the type of the features, sums in float32.
    """
    slot = torch.full((len(table),), -1, device=targets.device)
    slot[sample] = torch.arange(len(sample), device=targets.device)
    shifted = (bias - correction)[:, None]
    rows = F.embedding(targets, table).to(features.dtype)
    negatives = F.embedding(sample, table).to(features.dtype)
    row_bias, negative_bias = F.embedding(targets, shifted)[:, 0], F.embedding(sample, shifted)[:, 0]
    return SampledLoss.apply(
        features, rows, row_bias.float(), negatives, negative_bias.float(), slot[targets], targets == PADDING
    )


class SampledLoss(torch.autograd.Function):
    """Loss and gradients chunk by chunk in one pass, so that (N, S) logits never exist at once."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,  # (N, D)
        rows: Tensor,  # (N, D) embedding of each target
        row_bias: Tensor,  # (N,) float32
        negatives: Tensor,  # (S, D)
        negative_bias: Tensor,  # (S,) float32
        slot: Tensor,  # (N,) where the target stands in the sample, -1 if it does not
        ignored: Tensor,  # (N,)
    ) -> Tensor:
        total = features.new_zeros((), dtype=torch.float32)
        d_features, d_rows, d_row_bias = torch.empty_like(features), torch.empty_like(rows), torch.empty_like(row_bias)
        d_negatives = torch.zeros_like(negatives, dtype=torch.float32)
        d_negative_bias = torch.zeros_like(negative_bias)
        for start in range(0, len(features), CHUNK):
            part = slice(start, start + CHUNK)
            x, row = features[part], rows[part]
            logits = (x @ negatives.t()).float().add_(negative_bias)  # (n, S)
            forget_hits(logits, slot[part])
            own = (x * row).sum(1, dtype=torch.float32) + row_bias[part]
            norm = torch.logaddexp(torch.logsumexp(logits, 1), own)
            total += (norm - own).masked_fill(ignored[part], 0).sum()
            # An infinite norm makes every probability of the row 0, and with it what the row adds to the gradients.
            norm.masked_fill_(ignored[part], float("inf"))
            probability = logits.sub_(norm[:, None]).exp_()
            error = (own - norm).exp_().sub_(1).masked_fill_(ignored[part], 0)
            d_negative_bias += probability.sum(0)
            d_row_bias[part] = error
            probability, error = probability.to(x.dtype), error.to(x.dtype)[:, None]
            d_features[part] = torch.addcmul(probability @ negatives, error, row)
            d_rows[part] = error * x
            d_negatives += probability.t() @ x
        ctx.save_for_backward(d_features, d_rows, d_row_bias, d_negatives.to(negatives.dtype), d_negative_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return *(saved * gradient.to(saved.dtype) for saved in ctx.saved_tensors), None, None


def forget_hits(logits: Tensor, slot: Tensor) -> None:
    """-inf, in place, where a target stands among its own negatives; no look at the values, which would be a sync."""
    if not logits.shape[1]:  # a small sample may come out empty
        return
    column = slot.clamp(min=0)[:, None]
    found = logits.gather(1, column)
    logits.scatter_(1, column, found.masked_fill((slot >= 0)[:, None], float("-inf")))


def full_loss(features: Tensor, targets: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    """Sum of the exact negative log-likelihoods over the targets that are not padding, float32 (); for evaluation.

    Blocks of rows and of words: 1.6 times faster than whole rows of 30,000 logits, which do not fit the cache.
    """
    total = features.new_zeros((), dtype=torch.float32)
    table = table.to(features.dtype)
    for start in range(0, len(features), CHUNK):
        x, words = features[start : start + CHUNK], targets[start : start + CHUNK]
        norm = torch.full((len(x),), float("-inf"), device=x.device)
        for first in range(0, len(table), 2 * CHUNK):
            logits = (x @ table[first : first + 2 * CHUNK].t()).float().add_(bias[first : first + 2 * CHUNK])
            norm = torch.logaddexp(norm, torch.logsumexp(logits, 1))
        own = (x * F.embedding(words, table)).sum(1, dtype=torch.float32) + bias[words]
        total += (norm - own).masked_fill(words == PADDING, 0).sum()
    return total
