"""What the ranks have found of one evaluation, put together on every one of them."""

import lightning
import torch
from torch import Tensor, distributed
from torchmetrics.utilities.distributed import gather_all_tensors

from src.data.loading import readers_of


def gather(rows: Tensor, trainer: lightning.Trainer) -> Tensor:
    """The rows (n, ...) of all ranks behind each other, n may be another on each; every rank must call it.

    Of ranks that split matrices between them, and so read the same batches, the first speaks for all.
    """
    if trainer.world_size == 1:
        return rows
    parts = gather_all_tensors(rows)
    return torch.cat(parts[:: trainer.world_size // readers_of(trainer).size])


def of_every_rank(row: Tensor, trainer: lightning.Trainer) -> Tensor:
    """(ranks, n) the row (n,) of every rank; every rank must call it.

    Not by Lightning's all_gather, which calls what torch 2.13 warns of.
    """
    if trainer.world_size == 1:
        return row[None]
    rows = [torch.empty_like(row) for _ in range(trainer.world_size)]
    distributed.all_gather(rows, row.contiguous())
    return torch.stack(rows)
