"""Rules about devices, precision, the optimizer's kernel and how long training lasts."""

from typing import Any

from src.check.facts import Facts, ask

HALF = ("16-mixed", "16-true")


def gpu_is_there(config: dict[str, Any], facts: Facts) -> str | None:
    accelerator = ask(config, "trainer.accelerator")
    if accelerator in ("gpu", "cuda") and not facts.cuda:
        return f"trainer.accelerator ({accelerator}) finds no CUDA device here; choose trainer=cpu."
    return None


def fp16_needs_a_gpu(config: dict[str, Any], facts: Facts) -> str | None:
    """Float16 has no loss scaling and no fast kernels on a CPU."""
    precision = ask(config, "trainer.precision")
    if precision in HALF and (not facts.cuda or ask(config, "trainer.accelerator") == "cpu"):
        return f"precision=fp16 (trainer.precision={precision}) needs a GPU; on a CPU choose precision=bf16 or fp32."
    return None


def bf16_on_a_gpu_needs_its_units(config: dict[str, Any], facts: Facts) -> str | None:
    """Emulated bfloat16 is slower than float32; on a CPU it is slow as well, but the only 16-bit form there is."""
    precision = ask(config, "trainer.precision")
    on_gpu = facts.cuda and ask(config, "trainer.accelerator") != "cpu"
    if precision in ("bf16-mixed", "bf16-true") and on_gpu and not facts.bf16:
        return f"trainer.precision ({precision}) needs bf16 units (Ampere or later); choose precision=fp16 or fp32."
    return None


def fp16_clips_before_a_fused_optimizer(config: dict[str, Any], facts: Facts) -> str | None:
    """A fused optimizer unscales inside its kernel, so clipping before it would see scaled gradients."""
    if ask(config, "trainer.precision") != "16-mixed" or not ask(config, "optimizer.fused"):
        return None
    clip = ask(config, "trainer.gradient_clip_val")
    if not clip:
        return None
    return (
        f"trainer.gradient_clip_val ({clip}) cannot clip what optimizer.fused=true unscales under precision=fp16; "
        "set optimizer.fused=false or trainer.gradient_clip_val=null."
    )


def one_device(config: dict[str, Any], facts: Facts) -> str | None:
    """The single strategy trains one process; anything else would train copies that never meet."""
    devices, nodes = ask(config, "trainer.devices", 1), ask(config, "trainer.num_nodes", 1)
    several = devices != 1 and devices != [0] and not (isinstance(devices, list) and len(devices) == 1)
    if (several or nodes != 1) and ask(config, "trainer.strategy", "auto") == "auto":
        key, value = ("trainer.devices", devices) if several else ("trainer.num_nodes", nodes)
        return f"{key} ({value}) must be 1: strategy=single trains on one device; choose strategy=ddp for several."
    return None


def training_ends(config: dict[str, Any], facts: Facts) -> str | None:
    """The schedule needs a last step, so a time limit alone is not enough."""
    epochs, steps = ask(config, "trainer.max_epochs"), ask(config, "trainer.max_steps", -1)
    for name, most in (("epochs", epochs), ("steps", steps)):
        if most == 0:
            return f"trainer.max_{name} (0) must be at least 1: a run without a step would only spend its test split."
    if epochs in (-1, None) and steps == -1:
        shown = "null" if epochs is None else epochs
        return f"trainer.max_epochs ({shown}) and trainer.max_steps (-1) both say without end; give one of them."
    return None


def least_is_not_above_most(config: dict[str, Any], facts: Facts) -> str | None:
    for unit in ("epochs", "steps"):
        least, most = ask(config, f"trainer.min_{unit}"), ask(config, f"trainer.max_{unit}")
        if least is not None and most not in (None, -1) and least > most:
            return f"trainer.min_{unit} ({least}) must not be above trainer.max_{unit} ({most})."
    return None


def one_optimizer_kernel(config: dict[str, Any], facts: Facts) -> str | None:
    if ask(config, "optimizer.fused") and ask(config, "optimizer.foreach"):
        return "optimizer.fused and optimizer.foreach (true) are two kernels for one step; set one of them to false."
    return None


def nesterov_needs_momentum(config: dict[str, Any], facts: Facts) -> str | None:
    momentum, dampening = ask(config, "optimizer.momentum", 0), ask(config, "optimizer.dampening", 0)
    if ask(config, "optimizer.nesterov") and (not momentum or dampening):
        return (
            f"optimizer.nesterov (true) needs optimizer.momentum ({momentum}) above 0 "
            f"and optimizer.dampening ({dampening}) 0."
        )
    return None
