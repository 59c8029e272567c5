"""A decode step as one CUDA graph: at batch 1, launching hundreds of small kernels costs more than the work in them."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from src.cache.contiguous import ContiguousRows
from src.cache.protocol import Rows
from src.generation.compiled import PROGRAMS

WARM_UP = 3  # forwards before the capture: libraries choose their kernels, a compiler compiles


class GraphedStep:
    """`step(ids (B, 1), rows)` -> logits (B, V), captured anew for another selection of rows; longer ids run plainly.

    The result is overwritten by the next step. Needs a static contiguous cache, whose shapes never change. fuse: let
    torch.compile join the small kernels first, which takes a minute.
    """

    def __init__(self, network: nn.Module, *, fuse: bool = False) -> None:
        self.network = network
        self.fuse = fuse
        self.decode = torch.compile(network, dynamic=False, fullgraph=True) if fuse else network
        self.rows: ContiguousRows | None = None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.ids = torch.empty(0)
        self.logits = torch.empty(0)

    def __call__(self, ids: Tensor, rows: Rows | None) -> Tensor:
        if ids.shape[1] > 1:
            return self.network(ids, cache=rows, last_only=True)[:, -1]
        if rows is not self.rows:
            self.capture(ids, rows)
        assert self.rows is not None
        assert self.graph is not None
        self.rows.check(1)
        self.ids.copy_(ids)
        self.graph.replay()
        self.rows.count(1)
        return self.logits

    def capture(self, ids: Tensor, rows: Rows | None) -> None:
        """Record the kernels of one step; whatever the warm-up stored is overwritten by the steps to come."""
        if not isinstance(rows, ContiguousRows) or not rows.cache.static:
            raise ValueError("A CUDA graph needs cache=contiguous with cache.static=true.")
        self.rows, self.ids = rows, ids.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        programs = torch._dynamo.config.patch(recompile_limit=PROGRAMS) if self.fuse else nullcontext()
        with torch.cuda.stream(side), programs:
            for _ in range(WARM_UP):
                self.decode(self.ids, cache=rows, last_only=True)
                if self.fuse:
                    rows.count(1)  # compiled code leaves the host's count to the caller
                rows.rewind(1)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = self.decode(self.ids, cache=rows, last_only=True)[:, -1]
