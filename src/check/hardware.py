"""What the machine can do, asked once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hardware:
    """cuda: a CUDA device is there; bf16: the device training would use has bf16 units."""

    cuda: bool
    bf16: bool


def probe(accelerator: str) -> Hardware:
    """Facts about the device that `trainer.accelerator` will take. Imports torch."""
    import torch

    cuda = torch.cuda.is_available() and accelerator != "cpu"
    if cuda:
        return Hardware(cuda=True, bf16=torch.cuda.is_bf16_supported(including_emulation=False))
    return Hardware(cuda=False, bf16=torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def choose_precision(wanted: str, hardware: Hardware) -> str:
    """`wanted`, or for "auto" bf16-mixed where there are bf16 units and 32-true elsewhere."""
    if wanted != "auto":
        return wanted
    return "bf16-mixed" if hardware.bf16 else "32-true"
