"""What each part of a memory plan is made of, in numbers that a reader can multiply."""

from src.check.activations import Activations, Form
from src.check.state import FLOAT, StateBytes


def made_of(
    state: StateBytes, form: Form, found: Activations | None, *, buffers: int, compiled: bool
) -> dict[str, str]:
    """Part to formula; parts that are 0 have one too."""
    sizes, layout = state.sizes, state.layout
    by = {since: f" / {layout.shard}" if layout.stage >= since and layout.shard > 1 else "" for since in (1, 2, 3)}
    own = f" + {sizes.trained:,} x {FLOAT}" if layout.deepspeed and state.number < FLOAT else ""
    share = ", of the fullest rank" if layout.parameterwise else ""
    blocks = "all blocks" if layout.keeps_gathered else "2 blocks"
    per_token = "" if found is None else f" x {found.kept // form.tokens:,} bytes"
    tables = f" + {buffers:,} of tables" if buffers else ""
    less = ", before compiling, which keeps less" if compiled else ""
    return {
        "weights": f"{sizes.all:,} x {state.weight} bytes{by[3]}{tables}",
        "gathered weights": f"{state.root:,} x {state.weight} bytes outside the blocks, {blocks} of {sizes.block:,}",
        "gradients": f"{sizes.trained:,} x {state.weight} bytes{by[2]}",
        "in transit": f"until the ranks have added them up: {state.root:,} outside, {sizes.block:,} of one block",
        "optimizer": f"({sizes.states:,} x {state.state_number}{own}) bytes{by[1]}{share}",
        "averages": "a copy of the weights, in float32",
        "half copies": f"{sizes.copied:,} x {state.number} bytes, autocast's",
        "activations": f"{form.tokens:,} tokens ({form.rows} x {form.length:,}){per_token}{less}",
        "loss": "gradients of hidden states and head in float32, and one chunk of logits",
        "work of the step": "Newton-Schulz of the largest matrix",
    }
