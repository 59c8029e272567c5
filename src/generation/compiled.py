"""A decode step compiled for a CPU: with few rows, Python and the order of the weights in memory cost the most."""

import io
from contextlib import redirect_stderr

import torch
from torch import Tensor, nn

from src.cache.contiguous import ContiguousRows
from src.cache.protocol import Rows

# Weights become constants of the program: they are packed once in the order in which the matrix unit reads them, and
# the compiler's own products are tried against the library's. Given to torch.compile itself, freezing has no effect.
SETTINGS = {"freezing": True, "max_autotune": True, "autotune_num_choices_displayed": 0}
PROGRAMS = 32  # torch allows eight, fewer than there are kinds and numbers of rows


class CompiledStep:
    """`step(ids (B, 1), rows)` -> logits (B, V) by torch.compile; longer ids run plainly.

    Needs a contiguous cache, inference mode, and weights that stay as they are. A program takes seconds to minutes to
    make. Lengths and B are its symbols, so it serves all steps; another is made for rows of unequal lengths, for rows
    that are no neighbours, and for a single one.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.decode = torch.compile(network, fullgraph=True)

    def __call__(self, ids: Tensor, rows: Rows | None) -> Tensor:
        if ids.shape[1] > 1:
            return self.network(ids, cache=rows, last_only=True)[:, -1]
        if not isinstance(rows, ContiguousRows):
            raise ValueError("A compiled step needs cache=contiguous.")
        rows.check(1)
        # What the compiler tried it writes to standard error, a line per product.
        with (
            torch._inductor.config.patch(SETTINGS),
            torch._dynamo.config.patch(recompile_limit=PROGRAMS),
            redirect_stderr(io.StringIO()),
        ):
            logits = self.decode(ids, cache=rows, last_only=True)[:, -1]
        rows.count(1)  # compiled code leaves the host's count to the caller
        return logits
