"""Weights and optimizer state of a sharded network under the names and in the order of one process, and back.

All functions are collective. `tensor` is the number of ranks that split matrices.
"""

from typing import Any

import lightning
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from src.model.fused import in_order, put
from src.model.sharding import give_back
from src.model.tensor_parallel import fused_rows


def fused_names(module: lightning.LightningModule, tensor: int) -> dict[str, list[int]]:
    network: Any = module.network
    return {f"network.{name}": sizes for name, sizes in fused_rows(network, ranks=tensor).items()}


def network_state(module: lightning.LightningModule, *, tensor: int) -> dict[str, Any]:
    """DTensors that share memory with the weights, but for fused matrices that are split: these are copies."""
    give_back(module.network)  # type: ignore[arg-type]
    state = module.state_dict()
    for name, sizes in fused_names(module, tensor).items():
        state[name] = in_order(state[name], sizes, ranks=tensor)
    return state


def take_rows(module: lightning.LightningModule, state: dict[str, Any], *, tensor: int) -> None:
    """Put the fused matrices of `network_state`, since filled, back into the network."""
    for name, sizes in fused_names(module, tensor).items():
        put(module.get_parameter(name), state[name], sizes, ranks=tensor)


def load_weights(module: lightning.LightningModule, weights: dict[str, Tensor], *, tensor: int) -> None:
    """Take this rank's part of the weights of a whole network."""
    give_back(module.network)  # type: ignore[arg-type]
    own, fused = module.state_dict(), fused_names(module, tensor)
    if own.keys() != weights.keys():
        raise RuntimeError(f"Weights of other names: {sorted(own.keys() ^ weights.keys())}.")
    for name, target in own.items():
        put(target, weights[name].to(target.device), fused.get(name), ranks=tensor)


def optimizer_state(module: lightning.LightningModule, optimizer: Optimizer, *, tensor: int) -> dict[str, Any]:
    """As torch's `Optimizer.state_dict`, with names in the place of numbers."""
    optimizer, names = plain(optimizer), parameter_names(module, optimizer)
    numbered, fused = optimizer.state_dict(), fused_names(module, tensor)
    state = {names[number]: dict(values) for number, values in numbered["state"].items()}
    for name, sizes in fused.items():
        for key, value in state.get(name, {}).items():
            if isinstance(value, DTensor):
                state[name][key] = in_order(value, sizes, ranks=tensor)
    groups = [{**group, "params": [names[n] for n in group["params"]]} for group in numbered["param_groups"]]
    return {"state": state, "param_groups": groups}


def load_optimizer(
    module: lightning.LightningModule,
    optimizer: Optimizer,
    state: dict[str, Any],
    groups: list[dict[str, Any]],
    *,
    tensor: int,
) -> None:
    """Take the state of `optimizer_state`, since filled, and the settings of `groups`."""
    optimizer, fused = plain(optimizer), fused_names(module, tensor)
    names = parameter_names(module, optimizer)
    numbered = optimizer.state_dict()
    for number, values in numbered["state"].items():
        filled = state["state"][names[number]]
        for key, value in values.items():
            if isinstance(value, DTensor) and names[number] in fused:
                put(value, filled[key], fused[names[number]], ranks=tensor)
            else:
                values[key] = filled[key]
    own = numbered["param_groups"]
    pairs = zip(own, groups, strict=True)
    numbered["param_groups"] = [{**saved, "params": group["params"]} for group, saved in pairs]
    optimizer.load_state_dict(numbered)


@torch.no_grad()
def fill_optimizer(optimizer: Optimizer) -> None:
    """Give an optimizer that has not stepped yet the state it will have: a step of rate 0 on gradients of 0."""
    optimizer = plain(optimizer)
    if optimizer.state:
        return
    rates = [group["lr"] for group in optimizer.param_groups]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    for group in optimizer.param_groups:
        group["lr"] = torch.zeros_like(group["lr"]) if isinstance(group["lr"], Tensor) else 0.0
    optimizer.step()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)


def parameter_names(module: lightning.LightningModule, optimizer: Optimizer) -> list[str]:
    """The name of each parameter, in the order of its number."""
    give_back(module.network)  # type: ignore[arg-type]
    name_of = {id(parameter): name for name, parameter in module.named_parameters()}
    return [name_of[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def plain(optimizer: Any) -> Any:
    """Lightning's wrapper counts steps; the optimizer inside it does not."""
    return optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
