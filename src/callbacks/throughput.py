"""Speed of training, validation left out: examples and tokens per second, share of the device's peak, memory."""

import logging
import time
from typing import Any

import lightning
import torch
from torch import Tensor

from src.data.batch import Batch
from src.data.block import Block
from src.data.loading import readers_of
from src.model.decoder import Decoder
from src.model.flops import flops_per_token
from src.run.peaks import peak_flops

LOG = logging.getLogger(__name__)


class Clock:
    """Seconds of training on one device; on a GPU every reading first waits for the work that was handed to it."""

    def __init__(self, device: torch.device, *, seconds: float = 0.0) -> None:
        self.device, self.seconds = device, seconds
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
    """Logs the speed of all ranks together, once per epoch:

    throughput/examples_per_second, throughput/tokens_per_second: real tokens, padding does not count;
    throughput/mfu_palm, throughput/mfu_causal: the model's arithmetic for these tokens by either count
        (src/model/flops.py) over the dense peak of all devices (src/run/peaks.py); both only for a Decoder on GPUs of
        known peak;
    throughput/peak_memory_bytes: the most that tensors held on the fullest GPU since training began;

    and throughput/recent_tokens_per_second every `trainer.log_every_n_steps` steps, where loggers read the loss anyway.
    Tokens are summed on the device, so no other step waits for the host or for other ranks. The first batch of a fit is
    left out: it compiles, allocates and loads kernels.
    """

    def __init__(self) -> None:
        self.decoder: Decoder | None = None
        self.peak: float | None = None
        self.flops: dict[int, Tensor] = {}  # T to FLOPs per token by the PaLM and the causal count
        self.recent = (0, 0.0)  # tokens and seconds at the last recent_tokens_per_second
        self.loaded: dict[str, Any] | None = None
        self._start(torch.device("cpu"))

    def state_dict(self) -> dict[str, Any]:
        """Of this rank; rank 0 speaks for all in a checkpoint, and their batches differ by a few tokens."""
        sums = {"batches": self.batches, "examples": self.examples, "tokens": int(self.tokens)}
        return {**sums, "work": self.work.tolist(), "seconds": self.clock.read(), "recent": list(self.recent)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loaded = state_dict

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
        if self.loaded is not None:
            self.batches, self.examples = self.loaded["batches"], self.loaded["examples"]
            self.recent = tuple(self.loaded["recent"])
            self.tokens += self.loaded["tokens"]
            self.work += torch.tensor(self.loaded["work"], dtype=self.work.dtype, device=self.work.device)
            self.clock = Clock(pl_module.device, seconds=self.loaded["seconds"])
            self.loaded = None

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
            self.clock = Clock(pl_module.device, seconds=self.clock.seconds)
            return
        tokens = batch.num_tokens
        self.batches += 1
        self.examples += batch.num_examples
        self.tokens += tokens
        if self.decoder is not None and self.peak is not None:
            self.work += tokens * self._flops_per_token(self.decoder, batch.ids.shape[1])
        every, step = trainer.log_every_n_steps, trainer.global_step  # type: ignore[attr-defined]
        if every and step % every == 0 and step != self.logged_step:
            self.logged_step = step
            tokens_before, seconds_before = self.recent
            self.recent = int(over_ranks(trainer, self.tokens)), self.clock.read()
            new_tokens, new_seconds = self.recent[0] - tokens_before, self.recent[1] - seconds_before
            pl_module.log("throughput/recent_tokens_per_second", new_tokens / new_seconds)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.clock.pause()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.clock.resume()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.batches == 0:
            return
        seconds = self.clock.read()
        examples = over_ranks(trainer, torch.tensor(self.examples, device=pl_module.device))
        pl_module.log("throughput/examples_per_second", int(examples) / seconds)
        pl_module.log("throughput/tokens_per_second", int(over_ranks(trainer, self.tokens)) / seconds)
        if self.peak is not None:
            peak = self.peak * trainer.world_size
            for name, flops in zip(("palm", "causal"), over_ranks(trainer, self.work).tolist(), strict=True):
                pl_module.log(f"throughput/mfu_{name}", flops / seconds / peak)
        if pl_module.device.type == "cuda":
            most = torch.tensor(torch.cuda.max_memory_allocated(pl_module.device), device=pl_module.device)
            pl_module.log("throughput/peak_memory_bytes", float(trainer.strategy.reduce(most, reduce_op="max")))

    def _start(self, device: torch.device) -> None:
        self.batches, self.examples = 0, 0
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


def over_ranks(trainer: lightning.Trainer, counted: Tensor) -> Tensor:
    """The sum of what all ranks have counted; those that split matrices between them have counted the same."""
    copies = trainer.world_size // readers_of(trainer).size
    total = trainer.strategy.reduce(counted.clone(), reduce_op="sum")
    assert isinstance(total, Tensor)
    return total // copies if copies > 1 else total


def known_peak(name: str, precision: str) -> float | None:
    """The device's dense FLOP/s, or None and a word about it: no MFU is better than a wrong one."""
    peak = peak_flops(name, precision)
    if peak is None:
        LOG.warning("No MFU: the dense peak of %s in %s is not known; tokens per second are logged.", name, precision)
    return peak
