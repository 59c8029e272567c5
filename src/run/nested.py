"""Between a nested state and its tensors by path; between parameters by name and by number in optimizer states."""

from typing import Any

from torch import Tensor

from src.errors import UserError

Route = tuple[str | int, ...]  # keys of dicts and indexes of lists, from the top


def split(state: Any, route: Route = ()) -> tuple[Any, dict[Route, Tensor]]:
    """`state` with None in the place of every tensor, and the tensors by their place in it."""
    if isinstance(state, Tensor):
        return None, {route: state}
    if not isinstance(state, dict | list):
        return state, {}
    pairs = state.items() if isinstance(state, dict) else enumerate(state)
    tensors: dict[Route, Tensor] = {}
    rest = {}
    for key, value in pairs:
        rest[key], found = split(value, (*route, key))
        tensors |= found
    return rest if isinstance(state, dict) else list(rest.values()), tensors


def put(state: Any, route: Route, tensor: Tensor) -> None:
    """Set the tensor at its place; dicts on the way are made where they are missing."""
    for key in route[:-1]:
        state = state.setdefault(key, {}) if isinstance(state, dict) else state[key]
    state[route[-1]] = tensor


def numbered(state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer state by parameter name as `Optimizer.state_dict` writes it: by number, in the order of the groups.

    One that is numbered already stays as it is.
    """
    number_of = {name: number for number, name in enumerate(_parameters(state))}
    groups = [{**group, "params": [number_of[name] for name in group["params"]]} for group in state["param_groups"]]
    by_number = {number_of[name]: values for name, values in state["state"].items()}
    return {**state, "state": dict(sorted(by_number.items())), "param_groups": groups}


def named(state: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """An optimizer state by number with the parameter names of `like`, which has the same groups.

    Raises:
        UserError: the groups have other numbers of parameters.
    """
    found, wanted = ([len(group["params"]) for group in each["param_groups"]] for each in (state, like))
    if found != wanted:
        raise UserError(f"The optimizer state has groups of {found} parameters; the optimizer has groups of {wanted}.")
    name_of = dict(zip(_parameters(state), _parameters(like), strict=True))
    pairs = zip(state["param_groups"], like["param_groups"], strict=True)
    groups = [{**group, "params": list(other["params"])} for group, other in pairs]
    by_name = {name_of[number]: values for number, values in state["state"].items()}
    return {**state, "state": by_name, "param_groups": groups}


def _parameters(state: dict[str, Any]) -> list[Any]:
    return [parameter for group in state["param_groups"] for parameter in group["params"]]
