"""Where every weight of a decoder starts."""

import math

import torch
from torch import nn

from src.model.norm import RMSNorm
from src.model.rotary import Rotary
from src.model.stack import Stack

STD = 0.02
# Names of the matrices whose output is added to the residual stream, twice per block.
RESIDUAL = ("attention.out", "feed_forward.down")


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Fill all weights and tables of a decoder in place, also of one built on the meta device after `to_empty`.

    Matrices and embedding are N(0, 0.02); those in RESIDUAL N(0, 0.02 / sqrt(2 L)), so that the variance of the sum of
    2 L additions does not grow with depth (Radford et al. 2019, GPT-2, section 2.3). Gains are 1, biases 0.
    """
    num_layers = sum(len(module) for module in network.modules() if isinstance(module, Stack))
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=STD / math.sqrt(2 * num_layers) if name.endswith(RESIDUAL) else STD)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, Rotary):
            module.reset()
