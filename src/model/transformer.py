"""The transformer language model: a decoder and a head over the vocabulary."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from src.cache.protocol import Rows
from src.model.decoder import Decoder
from src.model.initialise import initialise


class Transformer(Decoder):
    """`Transformer(vocab_size=..., width=...)(ids)` -> logits (B, T, V); its other options are those of Decoder."""

    def __init__(self, *, tie_embeddings: bool = True, **trunk: Any) -> None:
        """tie_embeddings: the head is the embedding's own matrix (Press & Wolf 2017, arXiv:1608.05859)."""
        super().__init__(**trunk)
        vocab_size, width = self.embedding.weight.shape
        self.head = None if tie_embeddings else nn.Linear(width, vocab_size, bias=False)
        self.gather: Callable[[Tensor], Tensor] | None = None  # makes a matrix whole whose rows lie on several ranks
        initialise(self)

    @property
    def output_weight(self) -> Tensor:
        """(V, D) matrix whose product with a hidden state is its logits; a loss may take it in pieces."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return weight if self.gather is None else self.gather(weight)

    def forward(
        self, ids: Tensor, *, documents: Tensor | None = None, cache: Rows | None = None, last_only: bool = False
    ) -> Tensor:
        """ids (B, T) -> logits (B, T, V) in the type of the computation; (B, 1, V) of the last step with last_only."""
        hidden = self.hidden(ids, documents=documents, cache=cache)
        # In bfloat16 a CPU multiplies rows with gaps between them a hundred times as slowly.
        return functional.linear(hidden[:, -1:].contiguous() if last_only else hidden, self.output_weight)
