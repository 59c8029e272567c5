"""The trunk of the transformers: embedding, blocks, final norm.

Legend: B batch, T steps of this forward, V vocabulary, D model width, L layers, H query heads, K key-value heads.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import torch
from torch import Tensor, nn

from src.attention import sdpa
from src.attention.documents import Documents
from src.cache.protocol import Rows
from src.model.block import Block
from src.model.checkpointing import Checkpointing
from src.model.decoder_options import check_options
from src.model.feed_forward import FeedForward
from src.model.norm import RMSNorm
from src.model.rotary import Llama3Scaling, Rotary
from src.model.self_attention import Scope, SelfAttention
from src.model.stack import Compile, Stack

Positive = Annotated[int, ">= 1"]
Rate = Annotated[float, ">= 0, < 1"]


class Decoder(nn.Module):
    """Base of Transformer and TransformerClassifier: ids (B, T) to hidden states (B, T, D)."""

    def __init__(
        self,
        *,
        vocab_size: Positive = 8192,
        width: Positive = 256,
        num_layers: Positive = 4,
        num_heads: Positive = 4,
        num_kv_heads: Positive | None = None,
        head_width: Annotated[int, ">= 2"] | None = None,
        feed_forward_width: Positive = 688,
        max_length: Positive = 2048,
        rotary_base: Annotated[float, "> 0"] = 10000.0,
        rotary_scaling: Llama3Scaling | None = None,
        norm_epsilon: Annotated[float, "> 0"] = 1e-5,
        qk_norm: bool = False,
        dropout: Rate = 0.0,
        attention_dropout: Rate = 0.0,
        window: Positive | None = None,
        attention: Callable[..., Tensor] = sdpa.attend,
        checkpointing: Checkpointing = "none",
        compile: Compile = "none",
    ) -> None:
        """The knobs are described in conf/model/transformer_tiny.yaml. num_kv_heads: null is num_heads, 1 is MQA.

        head_width: null is width / num_heads. Raises UserError for values out of range or at odds with each other.
        The weights are filled by the subclass, with `initialise`, when all of them are there.
        """
        super().__init__()
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_options(locals())
        head_width = width // num_heads if head_width is None else head_width
        self.num_kv_heads, self.head_width, self.max_length = num_kv_heads, head_width, max_length
        self.num_heads, self.window, self.is_compiled = num_heads, window, compile != "none"
        self.embedding = nn.Embedding(vocab_size, width)
        self.dropout = nn.Dropout(dropout)
        self.rotary = Rotary(head_width, max_length=max_length, base=rotary_base, scaling=rotary_scaling)

        def make_block() -> Block:
            attention_part = SelfAttention(
                width,
                num_heads=num_heads,
                num_kv_heads=num_kv_heads,
                head_width=head_width,
                qk_norm=qk_norm,
                norm_epsilon=norm_epsilon,
                window=window,
                dropout=attention_dropout,
                attend=attention,
            )
            return Block(
                attention_norm=RMSNorm(width, epsilon=norm_epsilon),
                attention=attention_part,
                feed_forward_norm=RMSNorm(width, epsilon=norm_epsilon),
                feed_forward=FeedForward(width, hidden=feed_forward_width),
                dropout=dropout,
                checkpointing=checkpointing,
            )

        self.blocks = Stack((make_block() for _ in range(num_layers)), compile=compile)
        self.norm = RMSNorm(width, epsilon=norm_epsilon)

    def hidden(
        self, ids: Tensor, *, documents: Tensor | None = None, cache: Rows | None = None, causal: bool = True
    ) -> Tensor:
        """ids (B, T), documents (B, T) -> (B, T, D) behind the final norm.

        A step sees the steps of its own document only. Positions count from 0 in every row, or from what the cache
        holds of it; they do not start again with each document, since only distances matter.
        """
        self.check_inputs(ids, documents=documents, cache=cache, causal=causal)
        steps = ids.shape[1]
        cos, sin = self.rotary(steps, None if cache is None else cache.lengths)
        key_lengths = None if cache is None else cache.key_lengths(steps)
        scope = Scope(cos, sin, causal=causal, documents=Documents.of(documents), key_lengths=key_lengths)
        with self.compiled_or_not(cache):
            x = self.blocks(self.dropout(self.embedding(ids)), scope, cache)
        if cache is not None:
            cache.advance(steps)
        return self.norm(x)

    def compiled_or_not(self, cache: Rows | None) -> AbstractContextManager[object]:
        """Blocks run as they are with a cache: keys grow by every step, and each would be compiled for anew.

        Who compiles the network as a whole, for a static cache say, decides that alone.
        """
        if not self.is_compiled or torch.compiler.is_compiling():
            return nullcontext()
        if cache is not None:
            return torch.compiler.set_stance("force_eager")
        self.blocks.compile_once()
        return nullcontext()

    def depth_of(self, name: str) -> int:
        """How deep the parameter of this name is: embedding 0, blocks 1 to L, final norm and heads L + 1."""
        match name.split("."):
            case ["embedding", *_]:
                return 0
            case ["blocks", number, *_]:
                return int(number) + 1
        return len(self.blocks) + 1

    def check_inputs(self, ids: Tensor, *, documents: Tensor | None, cache: Rows | None, causal: bool) -> None:
        """Raises ValueError for what would give a wrong answer without a word."""
        if ids.dim() != 2 or ids.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"ids ({ids.dtype}, shape {tuple(ids.shape)}) must be int32 or int64 of shape (B, T).")
        if documents is not None and documents.shape != ids.shape:
            raise ValueError(f"documents {tuple(documents.shape)} must have the shape of ids {tuple(ids.shape)}.")
        if cache is not None and (documents is not None or not causal):
            raise ValueError("A cache holds one causal text per row: give neither documents nor causal=False with it.")
        # A compiler would make a graph for every length it sees here; there the cache itself is the limit.
        before = 0 if cache is None or torch.compiler.is_compiling() else cache.length
        if before + ids.shape[1] > self.max_length:
            raise ValueError(f"{before + ids.shape[1]} steps are more than max_length ({self.max_length}) allows.")
