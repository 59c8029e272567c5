"""The blocks of a decoder, one after another, and how they are compiled."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Literal

from torch import Tensor, nn

from src.cache.protocol import Rows
from src.model.block import Block
from src.model.self_attention import Scope

Compile = Literal["none", "block", "stack"]


class Stack(nn.ModuleList):
    """`stack(x, scope, cache)`; a list of blocks, so that their weights are named by number.

    Compilation is in place (nn.Module.compile), which leaves every name in the state dict as it is.
    """

    def __init__(self, blocks: Iterable[Block], *, compile: Compile = "none") -> None:
        """compile: block = one graph for a block, used by all of them. stack = one graph over all, which takes longer
        to make and lets the compiler see across the blocks; a part that cannot be in a graph is then an error.
        """
        super().__init__(blocks)
        self.to_compile = compile

    def compile_once(self) -> None:
        """Before the first forward, not in the constructor: the compiler takes seconds to import, and a network that is
        only looked at, or only generates, does not need it.
        """
        if self.to_compile == "stack":
            self.compile(fullgraph=True)
        elif self.to_compile == "block":
            for block in self:
                block.compile()
        self.to_compile = "none"

    def __iter__(self) -> Iterator[Block]:
        return super().__iter__()  # type: ignore[return-value]

    def forward(self, x: Tensor, scope: Scope, cache: Rows | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        for layer, block in enumerate(self):
            # The number of the layer stays out of the block: a compiler would make a graph of its own for each.
            x = block(x, scope, None if cache is None else partial(cache.extend, layer))
        return x
