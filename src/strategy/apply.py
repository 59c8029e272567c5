"""What tasks ask of the strategy that runs them; with one process and with plain DDP nothing is to be done."""

from collections.abc import Callable
from typing import Any

import lightning
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch import Tensor
from torch.optim import Optimizer

from src.strategy.ddp import DataParallel
from src.strategy.deepspeed import DeepSpeed


def shard_network(task: lightning.LightningModule) -> None:
    """Divide `task.network` among the ranks, in place; for `configure_model`, which Lightning calls more than once."""
    strategy = task.trainer.strategy
    if isinstance(strategy, ModelParallelStrategy):
        from src.strategy.sharded import Sharded  # half a second that one process can do without

        assert isinstance(strategy, Sharded)
        strategy.shard(strategy.network)


def build_optimizer(strategy: Strategy, make: Callable[..., Optimizer], groups: list[dict[str, Any]]) -> Optimizer:
    """`make(groups)`, or one that keeps the state of this rank's share of the parameters."""
    if isinstance(strategy, DataParallel) and strategy.shard_optimizer:
        from src.strategy.zero import ShardedOptimizer

        return ShardedOptimizer(groups, make)
    return make(groups)


def restore_weights(task: lightning.LightningModule, weights: dict[str, Tensor]) -> None:
    """Load the state dict of a whole network into a task, which may be divided among the ranks; all ranks call it."""
    strategy = None if task._trainer is None else task._trainer.strategy
    if isinstance(strategy, ModelParallelStrategy):
        from src.strategy.state import load_weights

        load_weights(task, weights, tensor=strategy.tensor_size)  # type: ignore[attr-defined]
    elif isinstance(strategy, DeepSpeed):
        strategy.load_weights(weights)
    else:
        task.load_state_dict(weights)


def clips_itself(strategy: Strategy) -> bool:
    """Whether gradients are out of reach between backward and step, and clipped there by the strategy."""
    return isinstance(strategy, DeepSpeed)
