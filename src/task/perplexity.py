"""How well a language model foretells text, exact over a whole split and over all processes."""

import math

import torch
from torch import Tensor
from torchmetrics import Metric


class Perplexity(Metric):
    """loss in nats per token, ppl = exp(loss), and bits_per_byte = sum of the losses / ln 2 / bytes.

    Perplexity depends on how the tokenizer cuts the text; bits per byte compare across tokenizers.
    """

    full_state_update = False
    nll: Tensor
    tokens: Tensor
    bytes: Tensor

    def __init__(self) -> None:
        super().__init__()
        # float32 would stop counting at 16.7 million tokens.
        self.add_state("nll", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("bytes", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, nll: Tensor, tokens: Tensor, num_bytes: Tensor) -> None:
        """Sums of a batch, (): nats, counted targets, and the bytes that these stand for."""
        self.nll += nll
        self.tokens += tokens
        self.bytes += num_bytes

    def compute(self) -> dict[str, Tensor]:
        """Each () float32; NaN where nothing was counted."""
        loss = (self.nll / self.tokens).float()
        return {
            "loss": loss,
            "ppl": loss.exp(),
            "bits_per_byte": (self.nll / math.log(2) / self.bytes).float(),
        }
