"""Memory that one training step needs on its device, part by part, from the config and the network's shapes alone."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from src.check.activations import Activations, Form, activation_bytes
from src.check.facts import ask
from src.check.layout import Layout, layout_of
from src.check.rules_averaging import OURS, averages
from src.check.state import BYTES, FLOAT, MUON_WORK, Moments, StateBytes, sizes_of
from src.check.wording import made_of
from src.model.transformer import Transformer
from src.optimizer.muon import MuonAdamW
from src.task.linear_cross_entropy import CPU_CHUNK, GPU_CHUNK

MOMENTS = ("loss", "backward begins", "backward ends", "optimizer step")


@dataclass(frozen=True)
class Plan:
    """Bytes on one rank by part and moment of a step; `parts` without an entry for activations: no formula is known.

    host: bytes of the machine's memory that offloading takes for this rank. how: what each part is made of.
    """

    parts: dict[str, Moments]
    host: int
    how: dict[str, str]

    @property
    def sums(self) -> tuple[int, ...]:
        return tuple(sum(sizes) for sizes in zip(*self.parts.values(), strict=True))

    @property
    def total(self) -> int:
        """At the moment that needs most."""
        return max(self.sums)

    @property
    def peak(self) -> dict[str, int]:
        """The parts at that moment."""
        moment = self.sums.index(self.total)
        return {name: sizes[moment] for name, sizes in self.parts.items()}


def plan_memory(config: dict[str, Any], network: nn.Module, *, cuda: bool) -> Plan:
    """`network` is that of the resolved `config` and may be on the meta device; `cuda`: it is trained on a GPU."""
    weight, number = BYTES[ask(config, "trainer.precision")]
    layout, accumulates = layout_of(config), ask(config, "trainer.accumulate_grad_batches", 1) > 1
    sizes = sizes_of(network, config, tensor=layout.tensor)
    state = StateBytes(sizes, layout, weight=weight, number=number, accumulates=accumulates)
    form = form_of(config, layout, number=number, stream=state.weight, cuda=cuda)
    found = activation_bytes(network, form)
    buffers = sum(buffer.nbytes for buffer in network.buffers())
    kept = averages_of(config, numbers=sizes.all, weight=weight, buffers=buffers)
    parts = {
        "weights": Moments(*(size + buffers for size in state.weights())),
        "gathered weights": state.gathered(),
        "gradients": state.gradients(),
        "in transit": state.in_transit(),
        "optimizer": state.optimizer(),
        "averages": Moments.always(kept),
        "half copies": state.copies(checkpointed=ask(config, "model.checkpointing", "none") != "none"),
        "loss": loss_bytes(network, form, found, chunk=ask(config, "task.loss_chunk"), weight=state.weight),
        "work of the step": Moments(step=muon_work(config, network)),
    }
    if found is not None:
        # A backward works on one layer at a time and frees it; what stands behind the layers goes first.
        in_backward = (found.layers + found.working, found.layer + found.working)
        parts["activations"] = Moments(found.kept, *in_backward)
    compiled = ask(config, "model.compile", "none") != "none"
    return Plan(parts, state.host(), made_of(state, form, found, buffers=buffers, compiled=compiled))


def form_of(config: dict[str, Any], layout: Layout, *, number: int, stream: int, cuda: bool) -> Form:
    return Form(
        rows=ask(config, "data.batch_size"),
        length=ask(config, "data.max_length"),
        number=number,
        stream=stream,
        cuda=cuda,
        attention=ask(config, "model.attention._target_", "src.attention.none.attend").split(".")[2],
        tensor=layout.tensor,
        checkpointing=ask(config, "model.checkpointing"),
    )


def averages_of(config: dict[str, Any], *, numbers: int, weight: int, buffers: int) -> int:
    """Bytes of the copies of all weights that callbacks keep: ours in float32, Lightning's as they are with buffers."""
    targets = [target for _, target in averages(config)]
    return sum(numbers * max(FLOAT, weight) if target in OURS else numbers * weight + buffers for target in targets)


def loss_bytes(network: nn.Module, form: Form, found: Activations | None, *, chunk: int | None, weight: int) -> Moments:
    """A classifier's is nothing; a language model's holds its gradients, made in the forward, and a copy to scale them.

    Legend: N tokens, V vocabulary, D width, C tokens of a chunk; see src/task/linear_cross_entropy.py. A table shared
    with the embedding gets a second gradient when the layers' backward has ended.
    """
    if not isinstance(network, Transformer) or found is None:
        return Moments()
    vocabulary, width = network.output_weight.shape
    rows = min(chunk or (GPU_CHUNK if form.cuda else CPU_CHUNK), form.tokens)
    hidden, matrix = form.tokens * width, vocabulary * width
    forward = rows * vocabulary * (form.number + FLOAT) + 2 * matrix * form.number + hidden * form.stream
    loss = hidden * form.stream + matrix * FLOAT + max(forward, hidden * FLOAT + matrix * FLOAT)
    second = hidden * form.stream + matrix * weight - found.layer - found.working if network.head is None else 0
    return Moments(loss, ends=max(0, second))


def muon_work(config: dict[str, Any], network: nn.Module) -> int:
    if ask(config, "optimizer._target_") != f"{MuonAdamW.__module__}.{MuonAdamW.__qualname__}":
        return 0
    named = network.named_parameters()
    return MUON_WORK * max((p.numel() for name, p in named if name.startswith("blocks.") and p.ndim == 2), default=0)
