"""What a rank holds beside activations: weights, gradients, optimizer state, and what of them passes through.

Each is given at four moments of a step, since no two of them lie at their highest together.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import nn

from src.check.facts import ask
from src.check.layout import Layout, States, divided
from src.model.decoder import Decoder
from src.model.transformer import Transformer

# Bytes of a weight, and of a number in matrix products.
BYTES = {
    "64-true": (8, 8),
    "32-true": (4, 4),
    "bf16-mixed": (4, 2),
    "16-mixed": (4, 2),
    "bf16-true": (2, 2),
    "16-true": (2, 2),
}
FLOAT = 4
# DeepSpeed under Lightning's settings, in numbers: two buckets to add gradients up in and one to send weights back
# (reduce_bucket_size, allgather_bucket_size); whole weights that stage 3 keeps at once (stage3_max_live_parameters).
BUCKETS, LIVE = 3 * 200_000_000, 1_000_000_000
# Newton-Schulz in bfloat16, the step itself in float32: bytes per number of the matrix that Muon works on.
MUON_WORK = 16


class Moments(NamedTuple):
    """Bytes at the loss, when the backward begins, when it ends, and in the optimizer's step."""

    loss: int = 0
    begins: int = 0
    ends: int = 0
    step: int = 0

    @classmethod
    def always(cls, size: int) -> "Moments":
        return cls(size, size, size, size)


class Sizes(NamedTuple):
    """Numbers of a network, as one of the ranks that split matrices sees them, whatever else divides them."""

    all: int
    trained: int
    block: int  # of one block; 0 where there are none
    blocks: int
    table: int  # the matrix of the vocabulary that ends a language model; 0 where there is none
    copied: int  # in matrices that autocast copies
    states: int  # that the optimizer keeps
    shares: tuple[int, ...]  # of those, by parameter


def sizes_of(network: nn.Module, config: dict[str, Any], *, tensor: int) -> Sizes:
    named = list(network.named_parameters())
    trained = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    in_blocks = [(name, parameter) for name, parameter in named if name.startswith("blocks.")]
    multiplied = [p for name, p in trained if p.ndim == 2 and (name.startswith("blocks.") or not in_blocks)]
    shares = tuple(
        number_of(parameter, tensor) * states_of(config, name, parameter.ndim) for name, parameter in trained
    )
    blocks = count((parameter for _, parameter in in_blocks), tensor)
    return Sizes(
        all=count((parameter for _, parameter in named), tensor),
        trained=count((parameter for _, parameter in trained), tensor),
        block=blocks // len(network.blocks) if isinstance(network, Decoder) else 0,
        blocks=blocks,
        table=number_of(network.output_weight, tensor) if isinstance(network, Transformer) else 0,
        copied=count(multiplied, tensor),
        states=sum(shares),
        shares=shares,
    )


def number_of(parameter: Any, tensor: int) -> int:
    """Matrices are split, gains of norms are not."""
    return parameter.numel() // (tensor if parameter.ndim == 2 else 1)


def count(parameters: Iterable[Any], tensor: int = 1) -> int:
    return sum(number_of(parameter, tensor) for parameter in parameters)


def states_of(config: dict[str, Any], name: str, dimensions: int) -> int:
    """Numbers per weight that the optimizer keeps: two moments of Adam, the momentum of SGD and of Muon's matrices."""
    target = ask(config, "optimizer._target_")
    if target == "torch.optim.SGD":
        return 1 if ask(config, "optimizer.momentum") else 0
    if target == "src.optimizer.muon.MuonAdamW" and name.startswith("blocks.") and dimensions == 2:
        return 1
    return 3 if ask(config, "optimizer.amsgrad") else 2


def largest_share(shares: Iterable[int], ranks: int) -> int:
    """Of the fullest rank when each next largest goes to the emptiest, as torch's ZeroRedundancyOptimizer divides."""
    loads = [0] * ranks
    for share in sorted(shares, reverse=True):
        loads[loads.index(min(loads))] += share
    return max(loads)


class StateBytes:
    """The parts of one rank's state under a layout. weight, number: bytes of a weight, and of one in a product."""

    def __init__(self, sizes: Sizes, layout: Layout, *, weight: int, number: int, accumulates: bool) -> None:
        self.sizes, self.layout, self.accumulates = sizes, layout, accumulates
        self.number = number
        # DeepSpeed stores what multiplies, and its optimizer the weights in float32.
        self.weight = number if layout.deepspeed else weight
        self.gathered_number = number if layout.half_gather else weight
        self.state_number = max(FLOAT, weight) if layout.deepspeed else weight
        own_copy = sizes.trained * FLOAT if layout.deepspeed and number < FLOAT else 0
        whole = States(
            sizes.all * self.weight, sizes.trained * self.weight, sizes.states * self.state_number + own_copy
        )
        self.part = divided(whole, ranks=layout.shard, stage=layout.stage)
        if layout.parameterwise:
            self.part = self.part._replace(optimizer=largest_share(sizes.shares, layout.shard) * self.state_number)
        self.root = sizes.all - sizes.blocks

    def weights(self) -> Moments:
        return Moments.always(0 if self.layout.offload and self.layout.stage == 3 else self.part.weights)

    def optimizer(self) -> Moments:
        return Moments.always(0 if self.layout.offload else self.part.optimizer)

    def host(self) -> int:
        """Bytes of the machine's memory for one rank under offload, where a gradient in float32 joins the state."""
        if not self.layout.offload:
            return 0
        gradients = -(-self.sizes.trained * FLOAT // self.layout.shard)
        return self.part.optimizer + gradients + (self.part.weights if self.layout.stage == 3 else 0)

    def gathered(self) -> Moments:
        """Weights made whole for their work: the root from its first use to its last gradient, of the blocks one at
        work and one on its way, or all that are kept for the backward."""
        if self.layout.deepspeed and self.layout.stage == 3:
            live = min(self.sizes.all, LIVE) * self.weight
            return Moments(live, live, live)
        # The loss takes the vocabulary's matrix as a whole also where its rows are split.
        head = self.sizes.table * self.layout.tensor * self.weight if self.layout.tensor > 1 else 0
        if not self.layout.gathers:
            return Moments(head, head)
        root, block = self.root * self.weight + head, self.sizes.block * self.gathered_number
        if self.layout.keeps_gathered:
            every = self.sizes.blocks * self.gathered_number
            return Moments(root + every, root + every, root + block)
        return Moments(root, root + 2 * block, root + block)

    def gradients(self) -> Moments:
        """Those of the step before are dropped between the next one's loss and backward, unless they lie in buckets."""
        part, head = self.part.gradients, self.sizes.table * self.weight
        if self.layout.deepspeed:
            return Moments(0, 0, part, part)
        if not self.layout.gathers:
            return Moments(part, part if self.accumulates or self.layout.in_buckets else head, part, part)
        if self.accumulates and self.layout.whole_gradients:
            whole = self.sizes.trained * max(FLOAT, self.weight)
            return Moments(whole, whole, whole, part)
        return Moments(part, part if self.accumulates else 0, part, part)

    def in_transit(self) -> Moments:
        """Whole gradients until ranks have added them up, in float32, and each has its own; DeepSpeed's buckets."""
        if self.layout.deepspeed:
            buckets = min(BUCKETS, 3 * self.sizes.all) * self.number
            return Moments(0, buckets, buckets, buckets)
        if not self.layout.gathers:
            return Moments()
        if self.accumulates and self.layout.whole_gradients:  # they are there already
            return Moments(0, self.sizes.block * FLOAT, (self.root + self.sizes.block) * FLOAT)
        of_block = self.sizes.block * (self.gathered_number + 2 * FLOAT)
        head = self.sizes.table * self.layout.tensor * self.weight
        return Moments(0, head + of_block, self.root * (self.weight + FLOAT) + self.sizes.block * FLOAT)

    def copies(self, *, checkpointed: bool) -> Moments:
        """Autocast's, of the matrices in half precision; a recomputed block copies its own again."""
        if self.weight == self.number or (self.layout.gathers and self.layout.half_gather):
            return Moments()
        size = self.sizes.copied * self.number
        of_block = self.sizes.block * self.number
        return Moments(size, of_block if checkpointed else size, of_block)
