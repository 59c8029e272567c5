"""Loaders over views that hand out whole batches, in an order that follows the trainer's limits and ranks."""

from typing import Any, TypeVar

import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from src.data.sampler import ALONE, BatchOrder, Readers, SortedOrder

Order = TypeVar("Order", BatchOrder, SortedOrder)


def readers_of(trainer: Trainer) -> Readers:
    """Those that read different rows: the ranks among which a matrix is split read the same and count as one."""
    found = trainer.distributed_sampler_kwargs
    return ALONE if found is None else Readers(size=found["num_replicas"], rank=found["rank"])


def follow(order: Order, trainer: Trainer | None) -> Order:
    """Tell an order the ranks, and that of training what the trainer accumulates, limits and freezes."""
    if trainer is None:
        return order
    order.readers = readers_of(trainer)
    if isinstance(order, BatchOrder):
        limit = trainer.limit_train_batches
        # As Lightning counts: a float is a part of the epoch, an integer a number of batches.
        order.limit = int(limit * len(order)) if isinstance(limit, float) else limit
        order.accumulate = trainer.accumulate_grad_batches
        order.frozen = trainer.overfit_batches > 0  # type: ignore[attr-defined]
    return order


def make_loader(view: Any, order: BatchOrder | SortedOrder, *, num_workers: int, seed: int) -> DataLoader[Any]:
    """One item of the loader is `view[draw]` for one draw of the order: a whole batch."""
    return DataLoader(
        view,
        batch_size=None,
        sampler=order,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available(),
        # A loader draws a number at each start, by default from the generator that dropout uses.
        generator=torch.Generator().manual_seed(seed),
    )


def _as_it_is(batch: Any) -> Any:
    return batch
