"""The training loss summed on its device, so that no step waits for the host or for other ranks."""

from collections.abc import Callable

import torch
from torch import Tensor


class RunningLoss:
    """Two sums: over the optimizer step being accumulated, and over the epoch.

    dtype: of the epoch's sums; float32 counts examples exactly up to 16.7 million.
    """

    def __init__(self, *, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self.window: Tensor | None = None  # () of the micro-batches since the last optimizer step
        self.epoch: Tensor | None = None  # (2,) sum of the losses, and what they count

    def add(self, loss: Tensor, *, count: int | Tensor) -> None:
        """The mean loss () of a micro-batch over `count` examples or tokens."""
        loss = loss.detach()
        finite = torch.isfinite(loss)
        # A step left out by non_finite=skip is left out of the epoch's mean as well.
        total, counted = torch.where(finite, loss * count, 0.0), finite * count
        row = torch.stack((total.to(self.dtype), counted.to(self.dtype)))
        self.window = loss.float() if self.window is None else self.window + loss
        self.epoch = row if self.epoch is None else self.epoch + row

    def take_window(self) -> Tensor:
        """Sum of the micro-batches since the last call, () float32."""
        taken = torch.zeros(()) if self.window is None else self.window
        self.window = None
        return taken

    def take_epoch(self, add_up: Callable[..., Tensor]) -> float:
        """Mean over the epoch so far on all ranks, NaN if nothing was counted; the next epoch starts from nothing.

        add_up: sums a tensor in place over the ranks, as `strategy.reduce` does with reduce_op="sum"; called once.
        """
        total, count = (0.0, 0.0) if self.epoch is None else add_up(self.epoch.clone(), reduce_op="sum").tolist()
        self.epoch = None
        return total / count if count else float("nan")
