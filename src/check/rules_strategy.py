"""Rules about what a strategy can divide, and what goes with it."""

from importlib.util import find_spec
from typing import Any

from src.check.facts import Facts, ask
from src.check.global_batch import count_devices
from src.check.rules_task import MUON, TRANSFORMER, TRANSFORMER_CLASSIFIER

DATA_PARALLEL = "src.strategy.ddp.DataParallel"
SHARDED = "src.strategy.sharded.Sharded"
DEEPSPEED = "src.strategy.deepspeed.DeepSpeed"
SHARDED_PRECISION = ("32-true", "bf16-mixed", "bf16-true")


def kind(config: dict[str, Any]) -> str | None:
    """The class of the strategy; None for a single process."""
    return ask(config, "trainer.strategy._target_")


def name(config: dict[str, Any]) -> str:
    """The strategy as one would choose it."""
    ranks = ask(config, "trainer.strategy.tensor_parallel_size", 1)
    names = {
        DATA_PARALLEL: "ddp_zero1" if ask(config, "trainer.strategy.shard_optimizer") else "ddp",
        SHARDED: "tensor_parallel" if ranks > 1 else "fsdp",
        DEEPSPEED: "deepspeed",
    }
    return names.get(kind(config) or "", "single")


def strategy_is_one_of_ours(config: dict[str, Any], facts: Facts) -> str | None:
    """Lightning's own words (ddp, fsdp, ...) would start processes by running the command line again."""
    strategy = ask(config, "trainer.strategy", "auto")
    if strategy == "auto" or kind(config) in (DATA_PARALLEL, SHARDED, DEEPSPEED):
        return None
    shown = strategy if isinstance(strategy, str) else kind(config)
    return (
        f"trainer.strategy ({shown}) must come from the group: choose strategy=ddp, fsdp or another of conf/strategy."
    )


def deepspeed_needs_gpus_and_its_package(config: dict[str, Any], facts: Facts) -> str | None:
    if kind(config) != DEEPSPEED:
        return None
    if not facts.cuda or ask(config, "trainer.accelerator") == "cpu":
        return "trainer.strategy (DeepSpeed) trains on CUDA devices only; on a CPU choose strategy=fsdp."
    if not facts.elsewhere and find_spec("deepspeed") is None:
        return (
            "trainer.strategy (DeepSpeed) needs the package deepspeed, which is not installed; install the extra "
            "`deepspeed`, or choose strategy=fsdp."
        )
    return None


def deepspeed_does_not(config: dict[str, Any], facts: Facts) -> str | None:
    """Its engine clips, accumulates and keeps the optimizer's state by itself, and not as the rest here does."""
    if kind(config) != DEEPSPEED:
        return None
    cases: tuple[tuple[str, Any, bool, str], ...] = (
        ("trainer.gradient_clip_algorithm", "value", False, "clips by the norm only"),
        ("task.non_finite", "skip", False, "cannot leave a step out"),
        ("trainer.accumulate_grad_batches", 1, True, "would let a step begin in one epoch and end in the next"),
        ("model.compile", "none", True, "runs no compiled network"),
        ("resume", "never", True, "keeps no optimizer state in its checkpoints"),
    )
    for key, value, only, reason in cases:
        found = ask(config, key)
        if found is not None and (found == value) != only:
            return f"{key} ({found}) does not go with DeepSpeed, which {reason}; choose strategy=fsdp."
    return None


def devices_make_a_mesh(config: dict[str, Any], facts: Facts) -> str | None:
    """As src.strategy.sharded lays them out."""
    if kind(config) != SHARDED:
        return None
    devices, nodes = count_devices(ask(config, "trainer.devices", 1)), ask(config, "trainer.num_nodes", 1)
    tensor, shard = ask(config, "trainer.strategy.tensor_parallel_size", 1), ask(config, "trainer.strategy.shard_size")
    if devices * nodes % tensor:
        return (
            f"trainer.strategy.tensor_parallel_size ({tensor}) must divide the {devices * nodes} devices "
            f"(trainer.devices {devices} x trainer.num_nodes {nodes}); change one of them."
        )
    readers = devices * nodes // tensor
    if shard is not None and readers % shard:
        return (
            f"trainer.strategy.shard_size ({shard}) must divide the {readers} devices that read different rows "
            f"(trainer.devices {devices} x trainer.num_nodes {nodes} / tensor_parallel_size {tensor}); change one."
        )
    return None


def matrices_can_be_split(config: dict[str, Any], facts: Facts) -> str | None:
    """As src.model.tensor_parallel splits them."""
    ranks, model = ask(config, "trainer.strategy.tensor_parallel_size", 1), ask(config, "model._target_", TRANSFORMER)
    if ranks == 1:
        return None
    if model not in (TRANSFORMER, TRANSFORMER_CLASSIFIER):
        return (
            f"trainer.strategy.tensor_parallel_size ({ranks}) divides the heads of a transformer, and model "
            f"({model.rpartition('.')[2]}) has none; choose strategy=fsdp or ddp."
        )
    for key in ("num_kv_heads", "num_heads", "feed_forward_width", "vocab_size", "width"):
        size = ask(config, f"model.{key}")
        if size is not None and size % ranks:
            return (
                f"model.{key} ({size}) must be a multiple of trainer.strategy.tensor_parallel_size ({ranks}), which "
                "divides it; change one of them."
            )
    if any(is_samples(entry) for entry in ask(config, "callbacks", {}).values()):
        return (
            f"callbacks.samples writes with a cache for all heads, and trainer.strategy.tensor_parallel_size ({ranks}) "
            "leaves every device some of them; leave it out, and use src.generate on the finished run."
        )
    return None


def is_samples(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("_target_") == "src.callbacks.samples.Samples"


def muon_needs_whole_matrices(config: dict[str, Any], facts: Facts) -> str | None:
    if ask(config, "optimizer._target_") != MUON or name(config) in ("single", "ddp"):
        return None
    return (
        f"optimizer=muon needs whole matrices and their whole state, which strategy={name(config)} divides; choose "
        "strategy=ddp or optimizer=adamw_lm."
    )


def sharded_weights_have_no_fp16(config: dict[str, Any], facts: Facts) -> str | None:
    """The loss scaler looks for overflow on each rank alone."""
    precision = ask(config, "trainer.precision")
    if kind(config) != SHARDED or precision is None or precision in SHARDED_PRECISION:
        return None
    return (
        f"trainer.precision ({precision}) does not go with strategy={name(config)}; choose precision=bf16, bf16_true "
        "or fp32."
    )


def compiler_meets_the_strategy(config: dict[str, Any], facts: Facts) -> str | None:
    """Between two blocks FSDP gathers and gives back weights, which no single graph can hold."""
    wanted, ranks = ask(config, "model.compile", "none"), ask(config, "trainer.strategy.tensor_parallel_size", 1)
    if kind(config) != SHARDED or wanted == "none":
        return None
    if ranks > 1:  # torch 2.13: the backward of a DTensor's redistribution is handed a plain tensor
        return (
            f"model.compile ({wanted}) cannot take gradients through the matrices that "
            f"trainer.strategy.tensor_parallel_size ({ranks}) splits; set model.compile=none."
        )
    if wanted == "stack":
        return (
            f"model.compile (stack) makes one graph of all blocks, and strategy={name(config)} gathers weights between "
            "them; choose model.compile=block."
        )
    return None
