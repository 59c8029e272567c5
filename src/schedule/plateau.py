"""Lowers the learning rate when a validation metric stops improving."""

from typing import Annotated, Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau


def plateau(
    optimizer: Optimizer,
    *,
    total_steps: int,
    monitor: str = "val/loss",
    mode: Literal["min", "max"] = "min",
    factor: Annotated[float, "> 0, < 1"] = 0.5,
    patience: Annotated[int, ">= 0"] = 1,
) -> dict[str, Any]:
    """Multiply the rate by `factor` after `patience` validations without improvement; the run's length is no input."""
    del total_steps
    scheduler = ReduceLROnPlateau(optimizer, mode=mode, factor=factor, patience=patience)
    return {"scheduler": scheduler, "monitor": monitor, "interval": "epoch"}
