"""Rules about what a task can train on several ranks."""

from typing import Any

from src.check.facts import Facts, ask
from src.check.global_batch import readers
from src.check.rules_strategy import DEEPSPEED, SHARDED, kind


def unfreezing_needs_one_process(config: dict[str, Any], facts: Facts) -> str | None:
    every = ask(config, "task.unfreeze_every", 0.0)
    if every and readers(config) > 1:
        return (
            f"task.unfreeze_every ({every}) needs one process: ranks agree before training on which gradients they "
            "will exchange. Set it to 0, or train on one device."
        )
    return None


def adversarial_needs_whole_weights(config: dict[str, Any], facts: Facts) -> str | None:
    """It differentiates with respect to the weights inside the forward pass, where FSDP and TP hold other tensors."""
    epsilon = ask(config, "task.adversarial", 0.0)
    if epsilon and kind(config) in (SHARDED, DEEPSPEED):
        return (
            f"task.adversarial ({epsilon}) needs whole weights on every rank; choose strategy=ddp or ddp_zero1, or "
            "task.adversarial=0."
        )
    return None
