"""GPUs that a plan can name without having one: their memory, beside the dense peaks of src/run/peaks.py."""

from src.run.peaks import HALF

MIB = 2**20
# What `nvidia-smi --query-gpu=memory.total` prints, in MiB; rocm-smi for AMD. Datasheets round it: "80 GB" is 79.6 GiB
# on an H100, and GDDR6 with error correction gives a sixteenth away. Torch sees up to 1 % less.
MEMORY: dict[str, int] = {
    "NVIDIA A100-SXM4-40GB": 40960 * MIB,
    "NVIDIA A100-SXM4-80GB": 81920 * MIB,
    "NVIDIA A100-PCIE-40GB": 40960 * MIB,
    "NVIDIA A100 80GB PCIe": 81920 * MIB,
    "NVIDIA A10": 23028 * MIB,
    "NVIDIA A30": 24576 * MIB,
    "NVIDIA A40": 46068 * MIB,
    "NVIDIA H100 80GB HBM3": 81559 * MIB,
    "NVIDIA H100 PCIe": 81559 * MIB,
    "NVIDIA H100 NVL": 95830 * MIB,
    "NVIDIA H200": 143771 * MIB,
    "NVIDIA GH200 480GB": 97871 * MIB,
    "NVIDIA L4": 23034 * MIB,
    "NVIDIA L40": 46068 * MIB,
    "NVIDIA L40S": 46068 * MIB,
    "NVIDIA GeForce RTX 3090": 24576 * MIB,
    "NVIDIA GeForce RTX 4090": 24564 * MIB,
    "NVIDIA GeForce RTX 5090": 32607 * MIB,
    "NVIDIA B200": 183359 * MIB,
    "AMD Instinct MI300X": 196592 * MIB,
}
# What people call them, where that is not the end of the driver's name. The SXM form where there are several.
SHORT = {
    "A100-40GB": "NVIDIA A100-SXM4-40GB",
    "A100-80GB": "NVIDIA A100-SXM4-80GB",
    "H100-80GB": "NVIDIA H100 80GB HBM3",
    "H100-PCIe": "NVIDIA H100 PCIe",
    "H100-NVL": "NVIDIA H100 NVL",
    "GH200-96GB": "NVIDIA GH200 480GB",
    "RTX-3090": "NVIDIA GeForce RTX 3090",
    "RTX-4090": "NVIDIA GeForce RTX 4090",
    "RTX-5090": "NVIDIA GeForce RTX 5090",
    "MI300X": "AMD Instinct MI300X",
} | {name.removeprefix("NVIDIA "): name for name in MEMORY if name.count(" ") == 1 and "-" not in name}


def full_name(name: str) -> str | None:
    """The driver's name of a device in MEMORY, given that or a short one in any case; None for another device."""
    known = {short.lower(): full for short, full in SHORT.items()} | {full.lower(): full for full in MEMORY}
    return known.get(name.lower())


assert MEMORY.keys() <= HALF.keys()
