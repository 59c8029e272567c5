"""Moves weights from one network to another by name, for a run that starts where another ended."""

from typing import NamedTuple

from torch import Tensor, nn


class Match(NamedTuple):
    """Names of weights: in both networks with one shape, in both with two shapes, and only in one of them."""

    shared: list[str]
    unequal: list[str]
    fresh: list[str]  # only in the network that receives
    unused: list[str]  # only in the network that gives


def match(network: nn.Module, weights: dict[str, Tensor]) -> Match:
    """Compare names and shapes; nothing is copied, so both may be on the meta device."""
    own = network.state_dict()
    both = [name for name in own if name in weights]
    return Match(
        shared=[name for name in both if own[name].shape == weights[name].shape],
        unequal=[name for name in both if own[name].shape != weights[name].shape],
        fresh=[name for name in own if name not in weights],
        unused=[name for name in weights if name not in own],
    )


def copy_shared(network: nn.Module, weights: dict[str, Tensor]) -> Match:
    """Copy every weight that both have, in the type and on the device of the network that receives it."""
    found = match(network, weights)
    own = network.state_dict()
    for name in found.shared:
        own[name].copy_(weights[name])
    return found
