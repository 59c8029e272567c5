"""Two LSTM language models over one embedding: one predicts the next word, the other, reading backwards, the previous.

Its embedding and LSTM bear the names they have in the BiLSTM classifier of one layer, so that the classifier can start
from them. Output and input share the embedding (tied weights, Press & Wolf 2017, arXiv:1608.05859): the state of each
direction is projected to the embedding's width, and a word's logit is the product with its row, plus its bias.

Legend: B passages, T time steps, V words, D width of the embedding, H hidden units per direction, N = (T - 1) B.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from src.errors import UserError
from src.model.bilstm import PADDING, check_inputs, flip_index, flip_steps, read_embedded
from src.model.directions import Workers, side_by_side

# score(features (N, D), targets (N,), table (V, D), bias (V,), *extra) -> Tensor, in the autocast of the caller
Score = Callable[..., Tensor]


class RecurrentLanguageModel(nn.Module):
    """`RecurrentLanguageModel()(ids, lengths)` -> logits of the next and the previous word; 11,126,576 parameters."""

    def __init__(
        self, *, vocab_size: int = 30000, width: int = 256, hidden: int = 512, parallel_directions: bool = True
    ) -> None:
        """parallel_directions: on a CPU with two or more threads, each direction runs on a core of its own.

        Words must be numbered by falling frequency, as src.data.vocabulary does: each word's bias starts at the
        logarithm of its share under Zipf's law, log((i + 1) / i) / log V for word i, or the first thousands of steps
        would go into learning it. Raises UserError for values out of range.
        """
        super().__init__()
        for name, size, least in (("vocab_size", vocab_size, 3), ("width", width, 1), ("hidden", hidden, 1)):
            if size < least:
                raise UserError(f"{name} ({size}) must be {least} or more.")
        self.embedding = nn.Embedding(vocab_size, width, padding_idx=PADDING)
        # The classifier's one layer under the classifier's names; a second would let each direction see the other.
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.projection = nn.Linear(hidden, width)
        self.projection_reverse = nn.Linear(hidden, width)
        self.bias = nn.Parameter(torch.empty(vocab_size))
        self.parallel_directions = parallel_directions
        self.workers = Workers()
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Small embeddings, since they are output weights too: with N(0, 1) the first loss is 4 times ln V."""
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.embedding.weight[PADDING] = 0
        self.bias.copy_(zipf(len(self.bias)).log())
        self.bias[PADDING] = -100  # never sampled, never a target: it stays and is never predicted

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """ids (B, T), lengths (B,) -> logits (B, T, V) of the word after and of the word before each step.

        For a look at a few passages; training and evaluation use `score`, which never holds (B, T, V).
        """
        check_inputs(ids, lengths)
        flip = flip_index(lengths, steps=ids.shape[1])
        forward = read_embedded(ids.t(), self.embedding.weight, *self.weights(""), scale=None, pool=None)
        reverse = read_embedded(
            ids.t().gather(0, flip), self.embedding.weight, *self.weights("_reverse"), scale=None, pool=None
        )
        after = self.projection(forward) @ self.embedding.weight.t() + self.bias
        before = self.projection_reverse(flip_steps(reverse, flip)) @ self.embedding.weight.t() + self.bias
        return after.transpose(0, 1), before.transpose(0, 1)

    def score(self, ids: Tensor, lengths: Tensor, score: Score, *extra: Tensor) -> tuple[Tensor, Tensor]:
        """What `score` makes of the features and targets of each direction, computed on that direction's core.

        A target of 0 (padding) does not count: those behind a passage's end. The first word that a direction reads is
        never a target. `score` must draw no random numbers and depend on nothing trained but its arguments.
        """
        check_inputs(ids, lengths)
        ids = ids.t()
        flipped = ids.gather(0, flip_index(lengths, steps=ids.shape[0]))
        table, bias = self.embedding.weight, self.bias

        def direction(ids: Tensor, table: Tensor, bias: Tensor, *tensors: Tensor) -> Tensor:
            lstm, (weight, offset), extra = tensors[:4], tensors[4:6], tensors[6:]
            states = read_embedded(ids[:-1], table, *lstm, scale=None, pool=None)  # (T - 1, B, H)
            features = nn.functional.linear(states, weight, offset)
            return score(features.flatten(0, 1), ids[1:].flatten(), table, bias, *extra)

        forward = [ids, table, bias, *self.weights(""), self.projection.weight, self.projection.bias, *extra]
        reverse_head = (self.projection_reverse.weight, self.projection_reverse.bias)
        reverse = [flipped, table, bias, *self.weights("_reverse"), *reverse_head, *extra]
        if self.parallel_directions and ids.device.type == "cpu" and torch.get_num_threads() >= 2:
            return side_by_side(self.workers, direction, forward, reverse)
        return direction(*forward), direction(*reverse)

    def weights(self, direction: str) -> list[Tensor]:
        """The four tensors of one direction, in the order of torch.lstm."""
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [getattr(self.lstm, f"{kind}_l0{direction}") for kind in kinds]


def zipf(vocab_size: int) -> Tensor:
    """(V,) float32, log((i + 1) / i) / log V for word i from 1 on, 0 for padding; the sum is 1."""
    index = torch.arange(1, vocab_size, dtype=torch.float64)
    share = torch.log1p(1 / index) / torch.log(torch.tensor(float(vocab_size), dtype=torch.float64))
    return torch.cat([torch.zeros(1, dtype=torch.float64), share]).float()
