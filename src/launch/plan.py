"""What a run says of itself before it starts: size, precision, batch arithmetic, attention."""

from typing import Any

import torch
from torch import nn

from src.attention.start import announce
from src.check.global_batch import readers
from src.launch.build import count_parameters
from src.model.decoder import Decoder
from src.task.language_model import LanguageModel

HALF = {"bf16-mixed": torch.bfloat16, "bf16-true": torch.bfloat16, "16-mixed": torch.float16, "16-true": torch.float16}


def describe(config: dict[str, Any], network: nn.Module, *, here: bool = True) -> str:
    """Size, precision and batch in one line, and a second one where attention chooses its kernel `here` by itself."""
    precision = config["trainer"]["precision"]
    first = f"{count_parameters(network):,} parameters; precision {precision}; {batch_line(config)}"
    return "\n".join(filter(None, (first, attention_line(config, network) if here else None)))


def batch_line(config: dict[str, Any]) -> str:
    """`micro 64 x accumulation 1 x data-parallel 2 = 128 examples per optimizer step`; tokens where rows are full."""
    micro = config["data"]["batch_size"]
    accumulation = config["trainer"]["accumulate_grad_batches"]
    size = readers(config)
    examples = micro * accumulation * size
    line = (
        f"micro {micro} x accumulation {accumulation} x data-parallel {size} = {examples} examples per optimizer step"
    )
    if not config["task"]["_target_"].endswith(f".{LanguageModel.__name__}"):
        return line
    length = config["data"]["max_length"]
    return f"{line}, {examples * length:,} tokens in blocks of {length}"


def attention_line(config: dict[str, Any], network: nn.Module) -> str | None:
    """Which kernel attention=auto takes on the device that trains; None where there is nothing to choose.

    Raises:
        UserError: the chosen attention cannot train there.
    """
    if not isinstance(network, Decoder):
        return None
    cuda = torch.cuda.is_available() and config["trainer"]["accelerator"] != "cpu"
    attention: Any = network.blocks[0].attention
    return announce(
        attention.attend,
        torch.device("cuda" if cuda else "cpu"),
        HALF.get(config["trainer"]["precision"], torch.float32),
        head_width=network.head_width,
        dropout=attention.dropout,
    )
