"""The two tables of a plan: memory of one device by part and moment, and time; every number with what it is made of."""

from typing import Any

from torch import nn

from src.cache.size import bytes_per_token
from src.check.device import GIB, Device
from src.check.duration import Duration
from src.check.layout import layout_of
from src.check.memory import MOMENTS, Plan
from src.model.decoder import Decoder

Row = dict[str, Any]
MIB = 2**20


def memory_rows(config: dict[str, Any], network: nn.Module, plan: Plan, device: Device) -> list[Row]:
    """One row per part that is there, their sums, what else a process takes, and what the device has."""
    unit, name = (GIB, "GiB") if plan.total >= GIB else (MIB, "MiB")
    head = f"{name} per device"

    def row(part: str, sizes: tuple[int, ...], how: str) -> Row:
        return {head: part} | dict(zip(MOMENTS, (amount(size, unit) for size in sizes), strict=True)) | {"how": how}

    rows = [row(part, sizes, plan.how[part]) for part, sizes in plan.parts.items() if any(sizes)]
    if "activations" not in plan.parts:
        rows.append({head: "activations", "how": f"not estimated: no formula for {type(network).__name__}"})
    rows.append(row("sum", plan.sums, layout_of(config).describe()))
    beside = "CUDA context, libraries, NCCL: an allowance" if device.cuda else "Python, torch, Lightning"
    rows.append(row("framework", (device.framework,) * len(MOMENTS), beside))
    has = "not known here" if device.size is None else f"{device.name} has {amount(device.size, unit)}"
    rows.append(row("needed", tuple(size + device.framework for size in plan.sums), has))
    if plan.host:
        rows.append({head: "host memory", MOMENTS[-1]: amount(plan.host, unit), "how": "offloaded, for each device"})
    return rows


def amount(size: int, unit: int) -> str:
    return f"{size / unit:,.2f}"


def time_rows(plan: Duration) -> list[Row]:
    """What a step and the whole training compute, and how fast that goes."""
    rows: list[tuple[str, str, str]] = [("tokens per step", f"{plan.tokens:,}", f"{plan.examples:,} examples")]
    if plan.per_token is not None and plan.per_token_causal is not None:
        rows += [
            (
                "FLOP per token",
                f"{plan.per_token:.4g}",
                "6 per weight of a product, and 12 L d T of attention (PaLM count)",
            ),
            (
                "same, causal count",
                f"{plan.per_token_causal:.4g}",
                "without the products that a causal mask throws away",
            ),
            ("FLOP per step", f"{plan.per_token * plan.tokens:.4g}", "PaLM count x tokens"),
        ]
        if plan.repeated > 1:
            done = plan.per_token * plan.tokens * plan.repeated
            rows.append(
                ("computed per step", f"{done:.4g}", "with the forward that checkpointing repeats; not in an MFU")
            )
    rows += speed_rows(plan)
    return [dict(zip(("time", "value", "how"), row, strict=True)) for row in rows]


def speed_rows(plan: Duration) -> list[tuple[str, str, str]]:
    if plan.total is None or plan.per_token is None:
        return [("whole training", "not known", "plan.tokens or trainer.max_steps says how much is read")]
    rows = [
        ("whole training", f"{plan.total:.4g} tokens", f"{plan.total / plan.tokens:,.0f} steps; {plan.source}"),
        ("FLOP in all", f"{plan.total * plan.per_token:.4g}", "PaLM count x tokens"),
    ]
    speed, seconds, peak = plan.tokens_per_second, plan.seconds, plan.peak
    if speed is None or seconds is None or peak is None:
        return [*rows, ("hours", "not known", "name a device with plan.device, as in plan.device=H100-80GB")]
    dense = f"{plan.devices:,} x {peak / 1e12:,.1f} TFLOP/s dense"
    return [
        *rows,
        ("tokens per second", f"{speed:,.0f}", f"at an MFU of {plan.mfu:.0%} of {dense}"),
        ("same, per device", f"{speed / plan.devices:,.0f}", ""),
        ("seconds per step", f"{plan.tokens / speed:.3g}", ""),
        ("hours", f"{seconds / 3600:,.1f}", f"{seconds / 3600 * plan.devices:,.0f} device hours"),
    ]


def cache_line(network: nn.Module, *, length: int) -> str | None:
    """What generation will keep per token; training keeps no cache."""
    if not isinstance(network, Decoder):
        return None
    size = bytes_per_token(len(network.blocks), network.num_kv_heads, network.head_width, 2)
    total = f"{size * length / GIB:,.2f} GiB for {length:,} tokens"
    return f"Training keeps no cache; that of generation takes {size:,} bytes per token in 16 bits, {total}."
