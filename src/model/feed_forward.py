"""The feed-forward half of a block: SwiGLU with one matrix for gate and up."""

from torch import Tensor, nn
from torch.nn import functional


class FeedForward(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020, arXiv:2002.05202, section 2); rows of gate_up: gate, then up.

    One product of D x 2F keeps a GPU busier than two of D x F, and reads x once.
    """

    def __init__(self, width: int, *, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(functional.silu(gate) * up)
