"""Refuses to train ranks that read different configs: their gradients would be averaged without a word."""

import lightning
from torch import distributed

from src.errors import UserError


class SameConfig(lightning.Callback):
    """Compares the hash of the config file that each rank has read, before anything is trained or measured."""

    def __init__(self, sha256: str) -> None:
        self.sha256 = sha256

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if trainer.world_size == 1:
            return
        hashes = [""] * trainer.world_size
        distributed.all_gather_object(hashes, self.sha256)
        others = [str(rank) for rank, sha256 in enumerate(hashes) if sha256 != hashes[0]]
        if others:
            raise UserError(
                f"config.yaml has other bytes on rank {', '.join(others)} than on rank 0. All ranks must read the same "
                "file; put the run folder on a file system that all machines share."
            )
