"""Dense matrix arithmetic that a device can do at most, by the name its driver gives it: the 100 % of an MFU."""

# FLOP/s in bf16 or fp16 with fp32 accumulation, dense. Vendors print the figure for 2:4 sparse matrices beside it or
# instead of it, twice as high: taken for the peak it halves every MFU. Names are those of torch.cuda.get_device_name,
# compared whole: "RTX 4090 D", "RTX 4090 Laptop GPU" and a MIG slice of an A100 are other devices than these.
HALF: dict[str, float] = {
    # NVIDIA A100 datasheet: 312, sparse 624; the same for every form and memory.
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    # NVIDIA A10, A30, A40 datasheets: dense figure, sparse one twice that.
    "NVIDIA A10": 125e12,
    "NVIDIA A30": 165e12,
    "NVIDIA A40": 149.7e12,
    # NVIDIA H100 Tensor Core GPU Architecture whitepaper: SXM5 989.4, PCIe 756. H100 NVL product page: 1,671 sparse.
    "NVIDIA H100 80GB HBM3": 989.4e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835.5e12,
    # NVIDIA H200 datasheet: 1,979 sparse, NVL 1,671 sparse.
    "NVIDIA H200": 989.4e12,
    "NVIDIA H200 NVL": 835.5e12,
    # NVIDIA GH200 Grace Hopper datasheet: 1,979 sparse for both memories.
    "NVIDIA GH200 480GB": 989.4e12,
    "NVIDIA GH200 144G HBM3e": 989.4e12,
    # NVIDIA L4 datasheet: 242 sparse. L40 and L40S datasheets: 181.05 and 362.05 dense.
    "NVIDIA L4": 121e12,
    "NVIDIA L40": 181.05e12,
    "NVIDIA L40S": 362.05e12,
    # NVIDIA Ampere GA102, Ada and RTX Blackwell whitepapers: "Peak BF16 Tensor TFLOPS with FP32 Accumulate".
    "NVIDIA GeForce RTX 3090": 71e12,
    "NVIDIA GeForce RTX 4090": 165.2e12,
    "NVIDIA GeForce RTX 5090": 209.5e12,
    # NVIDIA Blackwell datasheet, HGX B200: 36 PFLOP/s sparse for eight.
    "NVIDIA B200": 2250e12,
    # AMD Instinct MI300X and MI325X datasheets: 1,307.4, sparse 2,614.9.
    "AMD Instinct MI300X": 1307.4e12,
    "AMD Instinct MI325X": 1307.4e12,
}
# The same in plain fp32, without TF32, where torch's default float32_matmul_precision leaves it. Same sources.
SINGLE: dict[str, float] = {
    "NVIDIA A100-SXM4-40GB": 19.5e12,
    "NVIDIA A100-SXM4-80GB": 19.5e12,
    "NVIDIA A100-PCIE-40GB": 19.5e12,
    "NVIDIA A100 80GB PCIe": 19.5e12,
    "NVIDIA H100 80GB HBM3": 66.9e12,
    "NVIDIA H200": 66.9e12,
}


def peak_flops(device_name: str, precision: str) -> float | None:
    """Dense FLOP/s of one device in a precision as Lightning names it; None where the figure is not known."""
    if precision.startswith(("bf16", "16")):
        return HALF.get(device_name)
    return SINGLE.get(device_name) if precision == "32-true" else None
