"""Memory that one training step needs on its device, part by part, from the config and the network's shapes alone."""

from typing import Any, NamedTuple

from torch import nn

from src.check.activations import Form, activation_bytes
from src.check.facts import ask
from src.model.transformer import Transformer
from src.task.linear_cross_entropy import CPU_CHUNK, GPU_CHUNK

# Bytes of a weight, and of a number in matrix products.
BYTES = {
    "64-true": (8, 8),
    "32-true": (4, 4),
    "bf16-mixed": (4, 2),
    "16-mixed": (4, 2),
    "bf16-true": (2, 2),
    "16-true": (2, 2),
}


class Plan(NamedTuple):
    """Bytes at the peak of a step: the forward has ended, and the gradients of the step before are still there."""

    weights: int
    gradients: int
    optimizer: int
    copies: int  # autocast's, of the matrices in half precision
    activations: int | None  # what the backward needs; None for a network without a formula
    loss: int

    @property
    def total(self) -> int:
        return sum(size or 0 for size in self)


def plan_memory(config: dict[str, Any], network: nn.Module, *, cuda: bool) -> Plan:
    """`network` is that of the resolved `config` and may be on the meta device; `cuda`: it is trained on a GPU.

    Python, torch and CUDA themselves take half a GiB to a GiB more.
    """
    weight, number = BYTES[ask(config, "trainer.precision")]
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    buffers = sum(buffer.nbytes for buffer in network.buffers())
    form = Form(
        rows=ask(config, "data.batch_size"),
        length=ask(config, "data.max_length"),
        number=number,
        stream=weight,
        cuda=cuda,
        attention=ask(config, "model.attention._target_", "src.attention.none.attend").split(".")[2],
    )
    gradients, activations = count(trained) * weight, activation_bytes(network, form)
    loss = loss_bytes(network, form, chunk=ask(config, "task.loss_chunk"))
    if activations is not None:
        # When the backward begins, the memory of the loss is free, and without accumulation that of the gradients.
        free = loss + (0 if ask(config, "trainer.accumulate_grad_batches", 1) > 1 else gradients)
        needed = activations.kept + max(0, activations.working - free)
    return Plan(
        weights=count(network.parameters()) * weight + buffers,
        gradients=gradients,
        optimizer=count_states(config, network) * weight,
        copies=count(matrix for matrix in trained if matrix.ndim == 2) * number if number < weight else 0,
        activations=None if activations is None else needed,
        loss=loss,
    )


def count(parameters: Any) -> int:
    return sum(parameter.numel() for parameter in parameters)


def count_states(config: dict[str, Any], network: nn.Module) -> int:
    """Numbers that the optimizer keeps: two moments of Adam, the momentum of SGD and of Muon's matrices."""
    target, trained = ask(config, "optimizer._target_"), [p for p in network.parameters() if p.requires_grad]
    if target == "torch.optim.SGD":
        return count(trained) if ask(config, "optimizer.momentum") else 0
    if target == "src.optimizer.muon.MuonAdamW":
        named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
        in_blocks = [parameter for name, parameter in named if name.startswith("blocks.") and parameter.ndim == 2]
        return 2 * count(trained) - count(in_blocks)
    return (3 if ask(config, "optimizer.amsgrad") else 2) * count(trained)


def loss_bytes(network: nn.Module, form: Form, *, chunk: int | None) -> int:
    """A classifier's is nothing; a language model's holds its gradients, made in the forward, and a copy to scale them.

    Legend: N tokens, V vocabulary, D width, C tokens of a chunk; see src/task/linear_cross_entropy.py.
    """
    if not isinstance(network, Transformer):
        return 0
    vocabulary, width = network.output_weight.shape
    rows = min(chunk or (GPU_CHUNK if form.cuda else CPU_CHUNK), form.tokens)
    hidden, matrix = form.tokens * width, vocabulary * width
    forward = rows * vocabulary * (form.number + 4) + 2 * matrix * form.number + hidden * form.stream
    return hidden * form.stream + matrix * 4 + max(forward, hidden * 4 + matrix * 4)
