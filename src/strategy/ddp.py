"""Data parallelism: every rank holds the whole network, and gradients are averaged while the backward runs."""

from lightning.pytorch.strategies import DDPStrategy

from src.strategy.group import Timeout, backend_for, seconds


class DataParallel(DDPStrategy):
    """DDP; gradients are averaged once per optimizer step, however many micro-batches make it.

    Args:
        shard_optimizer: the optimizer's state is divided among the ranks, see src.strategy.zero.
        timeout: seconds that a rank waits for the others.
    """

    def __init__(self, *, shard_optimizer: bool = False, timeout: Timeout = 1800.0) -> None:
        # One memory for gradients and what is sent of them.
        super().__init__(timeout=seconds(timeout), gradient_as_bucket_view=True)
        self.shard_optimizer = shard_optimizer

    def _get_process_group_backend(self) -> str:
        return backend_for(self.root_device)
