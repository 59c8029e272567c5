"""The documents of packed rows, with a memo of what kernels want instead of the numbers.

A plain tensor of numbers works everywhere. A network with many layers wraps it once per forward, so that the first
layer's lengths, mask or block mask serve all:

    documents = Documents(numbers)
    for block in blocks:
        x = block(x, documents=documents)
"""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor


class Documents:
    """numbers (B, S): tokens of one document have one number within their row."""

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers
        self._memo: dict[Hashable, Any] = {}

    @classmethod
    def of(cls, documents: "Tensor | Documents | None") -> "Documents | None":
        """The object itself, or a fresh one around a tensor."""
        return documents if documents is None or isinstance(documents, Documents) else cls(documents)

    def once(self, key: Hashable, build: Callable[[], Any]) -> Any:
        """What `build` returns, computed at the first call with this key.

        Inside torch.compile it is computed at every call: within one graph the compiler merges equal expressions by
        itself, and a side effect on this object would break the graph.
        """
        if torch.compiler.is_compiling():
            return build()
        if key not in self._memo:
            self._memo[key] = build()
        return self._memo[key]

    def lengths(self) -> list[int] | None:
        """Tokens per document, row after row; None if a number returns later in its row, since then no slice holds it.

        The host waits for the device once per object.
        """
        return self.once("lengths", lambda: run_lengths(self.numbers))

    def boundaries(self) -> Tensor:
        """(N + 1,) int32: where documents begin when the rows stand end to end, then B * S.

        Filled up with empty documents to a power of two, at least 64, so that compiled code meets few shapes.
        Raises ValueError where `lengths` is None.
        """
        return self.once("boundaries", self._boundaries)

    def _boundaries(self) -> Tensor:
        lengths = self.lengths()
        if lengths is None:
            raise ValueError("documents must be contiguous: a number returns later in its row.")
        size = max(64, 1 << (len(lengths) - 1).bit_length())
        padded = torch.tensor([0, *lengths, *[0] * (size - len(lengths))], dtype=torch.int32)
        return padded.cumsum(0, dtype=torch.int32).to(self.numbers.device)


def run_lengths(numbers: Tensor) -> list[int] | None:
    """Lengths of the runs of equal numbers (B, S), row after row; None if some row has two runs of one number."""
    rows, steps = numbers.shape
    first = torch.ones_like(numbers, dtype=torch.bool)
    first[:, 1:] = numbers[:, 1:] != numbers[:, :-1]
    places = first.flatten().nonzero()[:, 0]
    starts, values = torch.stack([places, numbers.flatten()[places].to(places.dtype)]).tolist()
    if len({(start // steps, value) for start, value in zip(starts, values, strict=True)}) < len(starts):
        return None
    ends = [*starts[1:], rows * steps]
    return [end - start for start, end in zip(starts, ends, strict=True)]
