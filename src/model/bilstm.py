"""The chapter's BiLSTM classifier: embedding, bidirectional LSTM, pooling over time, dropout, linear head.

Legend: B reviews, T time steps, V words, D width of the embedding, H hidden units per direction, C classes, L layers.
Padding is handled without packing, which costs 8 to 13 times the time on a CPU because oneDNN's kernel takes padded
batches only: the reverse direction reads each review flipped inside its own length, so its padding too stands at the
end, where it cannot touch the outputs of real steps. The results are those of packed sequences.
"""

from functools import partial
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from src.errors import UserError
from src.model.directions import Function, Workers, side_by_side
from src.model.pooling import Pooling, pool

PADDING, UNKNOWN = 0, 1


class BiLSTM(nn.Module):
    """`BiLSTM()(ids, lengths)` -> logits (B, C); 1,431,554 parameters at the defaults."""

    def __init__(
        self,
        *,
        vocab_size: int = 5000,
        width: int = 128,
        hidden: int = 256,
        num_layers: int = 1,
        num_classes: int = 2,
        pooling: Pooling = "masked_mean",
        dropout: float = 0.4,
        embedding_dropout: float = 0.0,
        token_dropout: float = 0.0,
        parallel_directions: bool = True,
    ) -> None:
        """pooling: `mean` is the chapter's lstm(x)[0].mean(1), padding included; the others see real steps only.

        dropout: on the pooled vector and between layers. embedding_dropout: one mask of features per review, the same
        at every step (variational dropout, Gal & Ghahramani 2016, arXiv:1512.05287). token_dropout: share of the
        words that are replaced by the unknown word in training. parallel_directions: on a CPU with two or more
        threads, each direction runs on a core of its own. Raises UserError for values out of range.
        """
        super().__init__()
        sizes = dict(vocab_size=vocab_size, width=width, hidden=hidden, num_layers=num_layers, num_classes=num_classes)
        rates = dict(dropout=dropout, embedding_dropout=embedding_dropout, token_dropout=token_dropout)
        check_options(sizes, rates, pooling)
        self.embedding = nn.Embedding(vocab_size, width, padding_idx=PADDING)
        # The module that holds the weights under their standard names; forward hands them to the same kernel.
        self.lstm = nn.LSTM(width, hidden, num_layers, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear((4 if pooling == "mean_max" else 2) * hidden, num_classes)
        self.pooling = pooling
        self.embedding_dropout = embedding_dropout
        self.token_dropout = token_dropout
        self.parallel_directions = parallel_directions
        self.workers = Workers()

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """ids (B, T) integers, 0 behind each review's end; lengths (B,) from 1 to T -> logits (B, C), float32."""
        check_inputs(ids, lengths)
        if self.pooling == "mean":
            lengths = torch.full_like(lengths, ids.shape[1])
        # Time comes first from here on: it is the order of the kernel, which would otherwise copy in and out.
        ids = self.drop_tokens(ids).t()
        flip = flip_index(lengths, steps=ids.shape[0])
        embed = partial(read_embedded, scale=self.feature_scale(ids.shape[1]))
        inputs = [[ids, self.embedding.weight], [ids.gather(0, flip), self.embedding.weight]]
        top = self.lstm.num_layers - 1
        for layer in range(top):
            forward, reverse = self.both_directions(partial(embed if layer == 0 else read, pool=None), inputs, layer)
            sequence = torch.cat([forward, flip_steps(reverse, flip)], dim=2)
            sequence = self.dropout(sequence)
            inputs = [[sequence], [flip_steps(sequence, flip)]]
        summarise = partial(pool, lengths=lengths, pooling=self.pooling)
        pooled = torch.cat(self.both_directions(partial(embed if top == 0 else read, pool=summarise), inputs, top), 1)
        with torch.autocast(ids.device.type, enabled=False):
            return self.head(self.dropout(pooled).to(self.head.weight.dtype)).float()

    def both_directions(self, function: Function, inputs: list[list[Tensor]], layer: int) -> tuple[Tensor, Tensor]:
        """function(*inputs, *weights) for the forward and the reverse direction of a layer."""
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        forward, reverse = (
            [*tensors, *(getattr(self.lstm, f"{kind}_l{layer}{direction}") for kind in kinds)]
            for tensors, direction in zip(inputs, ("", "_reverse"), strict=True)
        )
        if self.parallel_directions and forward[0].device.type == "cpu" and torch.get_num_threads() >= 2:
            return side_by_side(self.workers, function, forward, reverse)
        return function(*forward), function(*reverse)

    def drop_tokens(self, ids: Tensor) -> Tensor:
        """In training, each real word becomes the unknown word with probability token_dropout."""
        if not (self.training and self.token_dropout > 0):
            return ids
        dropped = (torch.rand(ids.shape, device=ids.device) < self.token_dropout) & (ids != PADDING)
        return ids.masked_fill(dropped, UNKNOWN)

    def feature_scale(self, reviews: int) -> Tensor | None:
        """(B, D) of 0 or 1 / (1 - p) in training, drawn by the caller's thread so that a seed fixes it."""
        if not (self.training and self.embedding_dropout > 0):
            return None
        ones = torch.ones(reviews, self.embedding.embedding_dim, device=self.embedding.weight.device)
        return functional.dropout(ones, self.embedding_dropout)


def read_embedded(ids: Tensor, table: Tensor, *weights: Tensor, scale: Tensor | None, pool: Function | None) -> Tensor:
    """One direction over words: ids (T, B), table (V, D)."""
    embedded = functional.embedding(ids, table, padding_idx=PADDING)
    if scale is not None:
        embedded = embedded * scale.to(embedded.dtype)
    return read(embedded, *weights, pool=pool)


def read(sequence: Tensor, *weights: Tensor, pool: Function | None) -> Tensor:
    """One direction of one layer over (T, B, features) -> outputs (T, B, H), or what `pool` makes of them."""
    state = sequence.new_zeros(1, sequence.shape[1], weights[1].shape[1])
    # The kernel keeps what a backward needs only if told so; eval mode with gradients (saliency) needs it too.
    keep = torch.is_grad_enabled()
    outputs = torch.lstm(sequence, (state, state), weights, True, 1, 0.0, keep, False, False)[0]
    return outputs if pool is None else pool(outputs)


def flip_index(lengths: Tensor, *, steps: int) -> Tensor:
    """(T, B): for each step the step that a review read backward has there; padding keeps its place.

    It is its own inverse, so the same index flips the outputs back.
    """
    step = torch.arange(steps, device=lengths.device)[:, None]
    return torch.where(step < lengths, lengths - 1 - step, step)


def flip_steps(sequence: Tensor, flip: Tensor) -> Tensor:
    """(T, B, features) with every review flipped inside its own length."""
    return sequence.gather(0, flip[:, :, None].expand_as(sequence))


def check_options(sizes: dict[str, int], rates: dict[str, float], pooling: str) -> None:
    """Raises UserError that names the first option out of range."""
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f"{name} ({size}) must be 1 or more.")
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise UserError(f"{name} ({rate}) must be at least 0 and below 1; 0 switches it off.")
    if pooling not in get_args(Pooling):
        raise UserError(f"pooling ({pooling}) must be one of {', '.join(get_args(Pooling))}.")


def check_inputs(ids: Tensor, lengths: Tensor) -> None:
    """Raises ValueError for inputs that would give a wrong answer without a word; values are read on the CPU only."""
    if ids.dim() != 2 or ids.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"ids ({ids.dtype}, shape {tuple(ids.shape)}) must be int32 or int64 of shape (B, T).")
    if lengths.shape != ids.shape[:1] or lengths.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"lengths ({lengths.dtype}, shape {tuple(lengths.shape)}) must be one integer per review.")
    # On a GPU this look at the values would make the host wait for the device.
    if lengths.device.type == "cpu" and not (lengths.min() >= 1 and lengths.max() <= ids.shape[1]):
        raise ValueError(f"lengths ({lengths.tolist()}) must lie between 1 and T ({ids.shape[1]}).")
