"""How long a training takes: arithmetic of a step and of all steps, over what the devices do at a stated MFU."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from src.check.device import Device, Planning
from src.check.facts import ask
from src.check.global_batch import count_devices, readers
from src.model.bilstm import BiLSTM
from src.model.decoder import Decoder
from src.model.flops import flops_per_token
from src.model.transformer import Transformer
from src.run.peaks import peak_flops

# Tokens per parameter at which a given amount of arithmetic gives the lowest loss (Hoffmann et al. 2022,
# arXiv:2203.15556, table 3).
OPTIMAL = 20


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Of all devices together; None where something it follows from is not known.

    per_token, per_token_causal: floating-point operations, see src/model/flops.py. repeated: times that of what is
    computed, the forwards that checkpointing repeats included; an MFU counts the model's arithmetic alone. total:
    tokens of the whole training, as `source` says. peak: dense FLOP/s of one device.
    """

    devices: int
    examples: int
    tokens: int
    per_token: float | None
    per_token_causal: float | None
    repeated: float
    total: float | None
    source: str
    peak: float | None
    mfu: float

    @property
    def tokens_per_second(self) -> float | None:
        if self.per_token is None or self.peak is None:
            return None
        return self.mfu * self.peak * self.devices / self.per_token

    @property
    def seconds(self) -> float | None:
        speed = self.tokens_per_second
        return None if speed is None or self.total is None else self.total / speed


def duration_of(config: dict[str, Any], network: nn.Module, device: Device, planning: Planning) -> Duration:
    """From the shapes of `network` alone, which may be on the meta device."""
    length = ask(config, "data.max_length")
    examples = ask(config, "data.batch_size") * ask(config, "trainer.accumulate_grad_batches", 1) * readers(config)
    tokens, steps = examples * length, ask(config, "trainer.max_steps", -1)
    total, source = planning.tokens, "plan.tokens"
    if total is None and steps > 0:
        total, source = float(steps * tokens), "trainer.max_steps"
    if total is None and isinstance(network, Transformer):
        total = float(OPTIMAL * sum(parameter.numel() for parameter in network.parameters()))
        source = f"{OPTIMAL} per parameter, arXiv:2203.15556"
    return Duration(
        devices=count_devices(ask(config, "trainer.devices", 1)) * ask(config, "trainer.num_nodes", 1),
        examples=examples,
        tokens=tokens,
        per_token=operations(network, length, causal=False),
        per_token_causal=operations(network, length, causal=True),
        repeated=4 / 3 if ask(config, "model.checkpointing") == "blocks" else 1.0,
        total=total,
        source=source,
        peak=peak_flops(device.name, ask(config, "trainer.precision")),
        mfu=planning.mfu,
    )


def operations(network: nn.Module, length: int, *, causal: bool) -> float | None:
    """Per token, forward and backward: of a transformer those of flops_per_token, of a BiLSTM 6 per weight."""
    if isinstance(network, Decoder):
        return flops_per_token(network, length, causal=causal)
    if isinstance(network, BiLSTM):
        return 6.0 * sum(weight.numel() for weight in network.lstm.parameters() if weight.ndim == 2)
    return None
