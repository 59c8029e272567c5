"""The transformer as a classifier: the decoder of the language model, pooling over time, linear head."""

from typing import Annotated, Any, Literal, get_args

import torch
from torch import Tensor, nn

from src.errors import UserError
from src.model.decoder import Decoder
from src.model.initialise import initialise
from src.model.pooling import pool

# `mean` would count the padding in.
RealSteps = Literal["masked_mean", "max", "mean_max", "last"]


class TransformerClassifier(Decoder):
    """`TransformerClassifier(...)(ids, lengths)` -> logits (B, C); its other options are those of Decoder.

    All weights but `classifier.*` bear the names they have in Transformer, so a pre-trained trunk moves in by name.
    """

    def __init__(
        self,
        *,
        num_classes: Annotated[int, ">= 2"] = 2,
        pooling: RealSteps = "masked_mean",
        head_dropout: Annotated[float, ">= 0, < 1"] = 0.0,
        causal: bool = True,
        **trunk: Any,
    ) -> None:
        """causal: steps see only what came before, as in the language model; false lets them see the whole text."""
        super().__init__(**trunk)
        if num_classes < 2:
            raise UserError(f"num_classes ({num_classes}) must be 2 or more.")
        if pooling not in get_args(RealSteps):
            raise UserError(f"pooling ({pooling}) must be one of {', '.join(get_args(RealSteps))}.")
        if not 0 <= head_dropout < 1:
            raise UserError(f"head_dropout ({head_dropout}) must be at least 0 and below 1; 0 switches it off.")
        self.pooling: RealSteps = pooling
        self.causal = causal
        self.head_dropout = nn.Dropout(head_dropout)
        self.classifier = nn.Linear((2 if pooling == "mean_max" else 1) * self.norm.weight.numel(), num_classes)
        initialise(self)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """ids (B, T) with anything behind each text's end; lengths (B,) from 1 to T -> logits (B, C), float32."""
        documents = None
        if not self.causal:
            # Real steps are document 0 and padding is document 1, so that no real step sees padding.
            documents = (torch.arange(ids.shape[1], device=ids.device) >= lengths[:, None]).to(ids.dtype)
        hidden = self.hidden(ids, documents=documents, causal=self.causal)
        pooled = self.head_dropout(pool(hidden.transpose(0, 1), lengths, self.pooling))
        with torch.autocast(ids.device.type, enabled=False):
            return self.classifier(pooled.to(self.classifier.weight.dtype)).float()
