"""What rules are given: facts about the machine, and a way to ask a config for a key it may not have."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Facts:
    """cuda: training may use a CUDA device; bf16: the training device has bf16 units; elsewhere: it is not here."""

    cuda: bool
    bf16: bool
    elsewhere: bool = False


def ask(config: dict[str, Any], key: str, default: Any = None) -> Any:
    """The value at a dotted key, or `default` where any part of the way is missing."""
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            return default
        node = node[name]
    return node
