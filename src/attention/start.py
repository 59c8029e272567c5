"""What a training says of its attention before it reads any data: that it cannot run, or what it chooses."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from src.attention import auto, flash, flex
from src.attention.inputs import refusal


def announce(
    attend: Callable[..., Any], device: torch.device, dtype: torch.dtype, *, head_width: int, dropout: float
) -> str | None:
    """A line for choices that decide by themselves, else None.

    attend: one of this room, or a partial of it. dtype: of q, k and v, so bfloat16 under bf16 autocast too.
    Raises UserError where it could not train on this device.
    """
    function = attend.func if isinstance(attend, partial) else attend
    if function is auto.attend:
        return auto.explain(device, dtype, head_width=head_width, dropout=dropout)
    if function is flash.attend:
        version = flash.choose_version(device)
        reason = flash.obstacle(version, device, dtype, head_width=head_width, dropout=dropout)
        if reason is not None:
            raise refusal("flash", reason)
    if function is flex.attend:
        reason = flex.obstacle(device, dropout=dropout, gradients=True)
        if reason is not None:
            raise refusal("flex", reason)
    return None
