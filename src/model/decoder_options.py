"""Whether the sizes of a decoder fit together; each sentence names the key, the value and the way out."""

from collections.abc import Mapping
from typing import Any, get_args

from src.errors import UserError
from src.model.checkpointing import Checkpointing
from src.model.stack import Compile

SIZES = ("vocab_size", "width", "num_layers", "num_heads", "num_kv_heads", "feed_forward_width", "max_length")
RATES = ("dropout", "attention_dropout")
POSITIVE = ("rotary_base", "norm_epsilon")
WORDS = {"checkpointing": get_args(Checkpointing), "compile": get_args(Compile)}


def check_options(options: Mapping[str, Any]) -> None:
    """Raises UserError that names the first of the decoder's options that is out of range or at odds with another."""
    for name in SIZES:
        if options[name] < 1:
            raise UserError(f"{name} ({options[name]}) must be 1 or more.")
    for name in RATES:
        if not 0 <= options[name] < 1:
            raise UserError(f"{name} ({options[name]}) must be at least 0 and below 1; 0 switches it off.")
    for name in POSITIVE:
        if options[name] <= 0:
            raise UserError(f"{name} ({options[name]}) must be above 0.")
    for name, legal in WORDS.items():
        if options[name] not in legal:
            raise UserError(f"{name} ({options[name]}) must be one of {', '.join(legal)}.")
    if options["window"] is not None and options["window"] < 1:
        raise UserError(f"window ({options['window']}) must be 1 or more; null lets every step see all before it.")
    check_heads(options)


def check_heads(options: Mapping[str, Any]) -> None:
    width, heads, kv_heads = options["width"], options["num_heads"], options["num_kv_heads"]
    if heads % kv_heads:
        raise UserError(f"num_heads ({heads}) must be a multiple of num_kv_heads ({kv_heads}).")
    head_width = options["head_width"]
    if head_width is None:
        if width % heads:
            raise UserError(f"width ({width}) must be a multiple of num_heads ({heads}), or give head_width.")
        head_width = width // heads
    if head_width % 2:
        raise UserError(f"head_width ({head_width}) must be even: rotary embedding turns features in pairs.")
