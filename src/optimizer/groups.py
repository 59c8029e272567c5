"""Which parameters decay, and at which share of the learning rate each depth learns."""

from typing import Any, Literal

from torch import Tensor, nn

from src.errors import UserError
from src.model.decoder import Decoder

Decay = Literal["matrices", "no_embeddings", "all"]


def parameter_groups(network: nn.Module, *, decay: Decay, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Parameters as an optimizer takes them; a group without "weight_decay" keeps the optimizer's own.

    decay: matrices (see `decay_groups`), those that are no embedding, or all parameters.
    layer_decay: each depth learns at this share of the rate of the depth above it (discriminative fine-tuning, Howard &
    Ruder 2018, arXiv:1801.06146, section 3.2); a group then says in "lr_scale" what its rate is to be multiplied by.

    A decoder's groups say in "in_blocks" whether they are the matrices of its blocks.

    Raises:
        UserError: layer_decay is not 1 and the network has no depths.
    """
    if layer_decay != 1.0:
        network = with_depths(network, key="task.layer_decay", value=layer_decay)
    if isinstance(network, Decoder):
        return _decoder_groups(network, decay=decay, layer_decay=layer_decay)
    if decay == "all":
        return [{"params": list(network.parameters())}]
    return decay_groups(network, embeddings=decay == "matrices")


def decay_groups(module: nn.Module, *, embeddings: bool = True) -> list[dict[str, Any]]:
    """Two groups: matrices keep the optimizer's weight decay; vectors (biases, norm gains) get none.

    A bias or a gain has no direction that shrinking would regularise: decay only pulls it off its optimum.
    embeddings: whether embeddings count as matrices.
    """
    spared = set() if embeddings else _embeddings(module)
    trained = [p for p in module.parameters() if p.requires_grad]
    decaying = [p for p in trained if p.ndim >= 2 and p not in spared]
    others = [p for p in trained if p.ndim < 2 or p in spared]
    return [{"params": decaying}, {"params": others, "weight_decay": 0.0}]


def with_depths(network: nn.Module, *, key: str, value: float) -> Decoder:
    """The network, if its parameters have depths.

    Raises:
        UserError: it is no decoder; the sentence names the setting that needs one.
    """
    if not isinstance(network, Decoder):
        raise UserError(
            f"{key} ({value}) needs a network of blocks, and a {type(network).__name__} has none; "
            "leave it out or choose model=transformer_classifier."
        )
    return network


def _decoder_groups(network: Decoder, *, decay: Decay, layer_decay: float) -> list[dict[str, Any]]:
    """From the top down, so that the first group learns at the full rate; matrices of blocks before the rest."""
    spared = _embeddings(network) if decay == "no_embeddings" else set()
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    top = max((network.depth_of(name) for name, _ in named), default=0)
    found: dict[tuple[int, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in named:
        below = top - network.depth_of(name)
        outside = parameter.ndim < 2 or not name.startswith("blocks.")
        still = decay != "all" and (parameter.ndim < 2 or parameter in spared)
        found.setdefault((below if layer_decay != 1.0 else 0, outside, still), []).append(parameter)
    groups = []
    for (below, outside, still), parameters in sorted(found.items(), key=lambda item: item[0]):
        group: dict[str, Any] = {"params": parameters, "in_blocks": not outside}
        if still:
            group["weight_decay"] = 0.0
        if layer_decay != 1.0:
            group["lr_scale"] = layer_decay**below
        groups.append(group)
    return groups


def _embeddings(module: nn.Module) -> set[Tensor]:
    return {part.weight for part in module.modules() if isinstance(part, nn.Embedding)}
