"""Speed of training, validation left out: examples and tokens per second, share of the device's peak, memory."""

import logging
import time
from typing import Any

import lightning
import torch
from torch import Tensor

from src.data.batch import Batch
from src.data.block import Block
from src.model.decoder import Decoder
from src.model.flops import flops_per_token
from src.run.peaks import peak_flops

LOG = logging.getLogger(__name__)


class Clock:
    """Seconds of training on one device; on a GPU every reading first waits for the work that was handed to it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, 0.0
        self.resume()

    def resume(self) -> None:
        self.resumed = self._now()

    def pause(self) -> None:
        self.seconds += self._now() - self.resumed

    def read(self) -> float:
        return self.seconds + self._now() - self.resumed

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class Throughput(lightning.Callback):
    """Logs the speed of this process's device, once per epoch:

    throughput/examples_per_second, throughput/tokens_per_second: real tokens, padding does not count;
    throughput/mfu_palm, throughput/mfu_causal: the model's arithmetic for these tokens by either count
        (src/model/flops.py) over the dense peak of the device (src/run/peaks.py); both only for a Decoder on a GPU of
        known peak;
    throughput/peak_memory_bytes: the most that tensors held on a GPU since training began;

    and throughput/recent_tokens_per_second every `trainer.log_every_n_steps` steps, where loggers read the loss anyway.
    Tokens are summed on the device, so no other step waits for the host. The first batch of a fit is left out: it
    compiles, allocates and loads kernels.
    """

    def __init__(self) -> None:
        self.decoder: Decoder | None = None
        self.peak: float | None = None
        self.flops: dict[int, Tensor] = {}  # T to FLOPs per token by the PaLM and the causal count
        self.recent = (0, 0.0)  # tokens and seconds at the last recent_tokens_per_second
        self._start(torch.device("cpu"))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.warm = False
        self.logged_step = trainer.global_step
        self.decoder = next((module for module in pl_module.modules() if isinstance(module, Decoder)), None)
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)
            if self.decoder is not None:
                self.peak = known_peak(torch.cuda.get_device_name(pl_module.device), str(trainer.precision))

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._start(pl_module.device)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch | Block,
        batch_idx: int,
    ) -> None:
        if not self.warm:
            self.warm = True
            self._start(pl_module.device)
            return
        tokens = batch.num_tokens
        self.examples += batch.num_examples
        self.tokens += tokens
        if self.decoder is not None and self.peak is not None:
            self.work += tokens * self._flops_per_token(self.decoder, batch.ids.shape[1])
        every, step = trainer.log_every_n_steps, trainer.global_step  # type: ignore[attr-defined]
        if every and step % every == 0 and step != self.logged_step:
            self.logged_step = step
            tokens_before, seconds_before = self.recent
            self.recent = int(self.tokens), self.clock.read()
            new_tokens, new_seconds = self.recent[0] - tokens_before, self.recent[1] - seconds_before
            pl_module.log("throughput/recent_tokens_per_second", new_tokens / new_seconds)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.clock.pause()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.clock.resume()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.examples == 0:
            return
        seconds = self.clock.read()
        pl_module.log("throughput/examples_per_second", self.examples / seconds)
        pl_module.log("throughput/tokens_per_second", int(self.tokens) / seconds)
        if self.peak is not None:
            for name, flops in zip(("palm", "causal"), self.work.tolist(), strict=True):
                pl_module.log(f"throughput/mfu_{name}", flops / seconds / self.peak)
        if pl_module.device.type == "cuda":
            pl_module.log("throughput/peak_memory_bytes", float(torch.cuda.max_memory_allocated(pl_module.device)))

    def _start(self, device: torch.device) -> None:
        self.examples = 0
        self.tokens = torch.zeros((), dtype=torch.int64, device=device)
        self.work = torch.zeros(2, dtype=torch.float64, device="cpu" if self.peak is None else device)
        self.clock = Clock(device)
        self.recent = (0, 0.0)

    def _flops_per_token(self, decoder: Decoder, length: int) -> Tensor:
        """(2,) on the device of the sums, made once per length."""
        if length not in self.flops:
            counts = [flops_per_token(decoder, length, causal=causal) for causal in (False, True)]
            self.flops[length] = torch.tensor(counts, dtype=torch.float64, device=self.work.device)
        return self.flops[length]


def known_peak(name: str, precision: str) -> float | None:
    """The device's dense FLOP/s, or None and a word about it: no MFU is better than a wrong one."""
    peak = peak_flops(name, precision)
    if peak is None:
        LOG.warning("No MFU: the dense peak of %s in %s is not known; tokens per second are logged.", name, precision)
    return peak
