"""One layer of a decoder: attention and feed-forward, each behind a norm and added to what came in."""

from torch import Tensor, nn

from src.model.checkpointing import Checkpointing, recomputed
from src.model.feed_forward import FeedForward
from src.model.norm import RMSNorm
from src.model.self_attention import Extend, Scope, SelfAttention


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)) (pre-norm, Xiong et al. 2020, arXiv:2002.04745)."""

    def __init__(
        self,
        *,
        attention_norm: RMSNorm,
        attention: SelfAttention,
        feed_forward_norm: RMSNorm,
        feed_forward: FeedForward,
        dropout: float,
        checkpointing: Checkpointing,
    ) -> None:
        """dropout: on both of what is added. checkpointing: what a backward recomputes instead of keeping."""
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.feed_forward_norm = feed_forward_norm
        self.feed_forward = feed_forward
        self.dropout = nn.Dropout(dropout)
        self.checkpointing = checkpointing

    def forward(self, x: Tensor, scope: Scope, extend: Extend | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D). Checkpointing is inside, so that compiling a block compiles it too."""
        return recomputed(self.compute, x, scope, extend, checkpointing=self.checkpointing)

    def compute(self, x: Tensor, scope: Scope, extend: Extend | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), scope, extend))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
