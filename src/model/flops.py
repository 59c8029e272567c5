"""Floating-point operations that training on one token needs, by the two counts in use."""

from src.model.decoder import Decoder
from src.model.transformer import Transformer


def flops_per_token(network: Decoder, length: int, *, causal: bool) -> float:
    """6 N + 12 L d T (PaLM, arXiv:2204.02311, appendix B), or with `causal` 6 N + 6 L d T: forward and backward.

    N: weights in matrix products, the language model's head included and the look-up of the embedding not. d: query
    heads times head width. T: the length of the text, or the window if that is smaller. The first count takes every
    product of a query and a key, the causal one leaves out those of the future, which a good kernel never computes.
    """
    weights = sum(parameter.numel() for parameter in network.blocks.parameters() if parameter.ndim == 2)
    if isinstance(network, Transformer):
        weights += network.output_weight.numel()
    seen = length if network.window is None else min(length, network.window)
    attention = len(network.blocks) * network.num_heads * network.head_width * seen
    return 6.0 * weights + (6.0 if causal else 12.0) * attention
