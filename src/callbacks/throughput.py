"""Examples and tokens per second of training, validation left out."""

import time
from typing import Any

import lightning
import torch

from src.data.batch import Batch


class Throughput(lightning.Callback):
    """Logs `throughput/examples_per_second` and `throughput/tokens_per_second` (real tokens) once per epoch.

    Tokens are summed on the device and read once per epoch, so no step waits for the host.
    """

    def __init__(self) -> None:
        self.examples = 0
        self.tokens = torch.zeros((), dtype=torch.int64)
        self.seconds = 0.0
        self.resumed = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.examples = 0
        self.tokens = torch.zeros((), dtype=torch.int64, device=pl_module.device)
        self.seconds = 0.0
        self.resumed = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        self.examples += len(batch.labels)
        self.tokens += batch.lengths.sum()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.seconds += time.perf_counter() - self.resumed

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.resumed = time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        tokens = int(self.tokens)
        seconds = max(self.seconds + time.perf_counter() - self.resumed, 1e-9)
        pl_module.log("throughput/examples_per_second", self.examples / seconds)
        pl_module.log("throughput/tokens_per_second", tokens / seconds)
