"""The optimizer over its parameter groups, and the schedule over the run's optimizer steps."""

from collections.abc import Callable
from typing import Any

import lightning
from torch import nn
from torch.optim import Optimizer

from src.errors import UserError
from src.model.decoder import Decoder
from src.optimizer.groups import Decay, parameter_groups
from src.optimizer.muon import MuonAdamW
from src.strategy.apply import build_optimizer


def optimizer_and_schedule(
    trainer: lightning.Trainer,
    network: nn.Module,
    *,
    make_optimizer: Callable[..., Optimizer],
    make_schedule: Callable[..., dict[str, Any]],
    decay: Decay,
    layer_decay: float = 1.0,
) -> dict[str, Any]:
    """What Lightning's `configure_optimizers` returns; decay and layer_decay are those of `parameter_groups`.

    Raises:
        UserError: the network has no depths for layer_decay, or no blocks for Muon.
    """
    groups = parameter_groups(network, decay=decay, layer_decay=layer_decay)
    optimizer = build_optimizer(trainer.strategy, make_optimizer, groups)
    if isinstance(optimizer, MuonAdamW) and not isinstance(network, Decoder):
        raise UserError(
            f"optimizer=muon is for the matrices of blocks, and a {type(network).__name__} has no blocks; "
            "choose optimizer=adamw, or a transformer as model."
        )
    for group in optimizer.param_groups:
        # A schedule multiplies what it finds here, so the shares last through the run.
        group["lr"] *= group.get("lr_scale", 1.0)
    total_steps = int(trainer.estimated_stepping_batches)
    return {"optimizer": optimizer, "lr_scheduler": make_schedule(optimizer, total_steps=total_steps)}
