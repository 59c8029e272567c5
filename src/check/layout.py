"""What a strategy divides among the ranks of a run: weights, gradients, optimizer state, matrices."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from src.check.facts import ask
from src.check.global_batch import readers
from src.check.rules_strategy import DATA_PARALLEL, DEEPSPEED, SHARDED, kind

Stage = Literal[0, 1, 2, 3]


class States(NamedTuple):
    """Bytes on one rank."""

    weights: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        return sum(self)


def divided(states: States, *, ranks: int, stage: Stage) -> States:
    """What one of `ranks` holds of `states` by the stages of ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054, fig. 1).

    Stage 1 divides the optimizer's state, 2 gradients too, 3 weights too. Their example: 7.5 billion weights with 2
    bytes, gradients with 2, and 12 of Adam in mixed precision: 120 GB on one rank; on 64 ranks 31.4, 16.6, 1.9 GB.
    """
    first = (3, 2, 1)
    return States(*(-(-size // ranks) if stage >= since else size for size, since in zip(states, first, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a run divides its state.

    shard: ranks that hold one copy of the state between them. tensor: ranks that split matrices. stage: of ZeRO.
    gathers: FSDP2 makes weights whole for their work. keeps_gathered: from a block's forward to its backward.
    half_gather: blocks are gathered in half precision under autocast. in_buckets: gradients lie in the buckets of DDP,
    which stay. parameterwise: a rank's share is whole parameters. whole_gradients: micro-batches before the last leave
    whole gradients. deepspeed: half-precision weights and gradients beside an optimizer that holds fp32 weights of its
    own. offload: the optimizer's state, and with stage 3 the weights, lie in the host's memory.
    """

    readers: int = 1
    shard: int = 1
    tensor: int = 1
    stage: Stage = 0
    gathers: bool = False
    keeps_gathered: bool = False
    half_gather: bool = False
    in_buckets: bool = False
    parameterwise: bool = False
    whole_gradients: bool = False
    deepspeed: bool = False
    offload: bool = False

    def describe(self) -> str:
        """As in `weights, gradients and optimizer state divided over 8 ranks, 2 copies, matrices split over 2`."""
        copies = max(1, self.readers // self.shard)
        words = {0: "nothing divided", 1: "optimizer state", 2: "optimizer state and gradients"}
        what = words.get(self.stage, "weights, gradients and optimizer state")
        line = what if self.stage == 0 else f"{what} divided over {self.shard} ranks"
        line += f", {copies} copies" if self.stage > 0 and copies > 1 else ""
        return f"{line}, matrices split over {self.tensor}" if self.tensor > 1 else line


def layout_of(config: dict[str, Any]) -> Layout:
    """That of `trainer.strategy`; a strategy that is not ours counts as one that divides nothing."""
    strategy, name, data = ask(config, "trainer.strategy", {}), kind(config), max(1, readers(config))
    if name == DATA_PARALLEL:
        zero1 = bool(strategy.get("shard_optimizer"))
        stage: Stage = 1 if zero1 else 0
        return Layout(readers=data, shard=data if zero1 else 1, stage=stage, in_buckets=True, parameterwise=zero1)
    if name == DEEPSPEED:
        stage, offload = strategy.get("stage", 2), bool(strategy.get("offload"))
        return Layout(readers=data, shard=data, stage=stage, deepspeed=True, offload=offload)
    return sharded(strategy, data) if name == SHARDED else Layout(readers=data)


def sharded(strategy: dict[str, Any], data: int) -> Layout:
    """FSDP2, HSDP and tensor parallelism. Ranks that only split matrices gather nothing (src/model/sharding.py)."""
    shard, tensor = strategy.get("shard_size") or data, strategy.get("tensor_parallel_size", 1)
    only_split = data == 1 < tensor
    return Layout(
        readers=data,
        shard=shard,
        tensor=tensor,
        stage=0 if only_split else 3,
        gathers=not only_split,
        keeps_gathered=not strategy.get("reshard_after_forward", True),
        half_gather=strategy.get("half_gather", True),
        whole_gradients=not only_split and strategy.get("accumulate", "whole") == "whole",
    )
