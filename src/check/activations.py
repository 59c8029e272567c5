"""What the backward pass keeps of a forward pass, in closed form, for the networks of this project.

Legend: T steps of a row, D width, H query heads, F feed-forward width. All figures of blocks are bytes per token.
Counted are tensors as torch saves them for autograd without a compiler; compiled blocks keep less.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from src.model.bilstm import BiLSTM
from src.model.block import Block
from src.model.decoder import Decoder
from src.model.transformer import Transformer

FLOAT = 4
# Bytes that oneDNN's LSTM fills per step of one direction, in float32 and in bfloat16 (it reserves more, for which the
# system makes no pages): what it keeps, output included, per hidden unit; and what a backward adds per hidden unit, per
# the wider of inputs and hidden units, and per input. Measured, torch 2.13, 64 to 512 inputs, 128 to 512 units.
LSTM = {4: (24.3, 21.0, 13.0, 4.0), 2: (12.5, 8.5, 12.0, 6.0)}
# SDPA on a CPU takes one mask for all documents of a row up to about this length, and behind it a call per document.
MASKED_LENGTH = 512


@dataclass(frozen=True)
class Form:
    """A batch as the network meets it."""

    rows: int
    length: int
    number: int  # bytes of a number in matrix products
    stream: int  # bytes of a number between the blocks
    cuda: bool
    attention: str  # naive, sdpa, flash, flex or auto; another word where nothing attends
    tensor: int = 1  # ranks that split heads and hidden units; the stream between the blocks is whole on each
    checkpointing: str | None = None  # None: what the network says

    @property
    def tokens(self) -> int:
        return self.rows * self.length


class Activations(NamedTuple):
    """Bytes at the end of a forward, of them those of all layers and of one, and what the backward of a layer adds."""

    kept: int
    layers: int
    layer: int
    working: int


def activation_bytes(network: nn.Module, form: Form) -> Activations | None:
    """None for a network whose formula is not known."""
    if isinstance(network, Decoder):
        return DecoderBytes(network, form).total()
    if isinstance(network, BiLSTM):
        return bilstm_bytes(network, form)
    return None


def bilstm_bytes(network: BiLSTM, form: Form) -> Activations:
    """Inputs, outputs and workspaces of both directions, which go backward at once or one after the other; on a CPU."""
    lstm, number = network.lstm, min(form.number, FLOAT)
    per_unit, work_per_unit, per_widest, per_input = LSTM[number]
    kept, working = [], 0.0
    for layer in range(lstm.num_layers):
        inputs, units = lstm.input_size if layer == 0 else 2 * lstm.hidden_size, lstm.hidden_size
        # Inputs in float32 and, if that is another type, in that of the kernel.
        read = inputs * (FLOAT if number == FLOAT else FLOAT + number)
        kept.append(int(2 * form.tokens * (read + units * per_unit + 8)))
        # The gradient of the output comes first.
        work = units * (FLOAT + work_per_unit) + max(inputs, units) * per_widest + inputs * per_input
        working = max(working, form.tokens * work * (2 if network.parallel_directions else 1))
    return Activations(kept=sum(kept), layers=sum(kept), layer=kept[0], working=int(working))


class DecoderBytes:
    """The blocks of one decoder over batches of one form."""

    def __init__(self, decoder: Decoder, form: Form) -> None:
        block = decoder.blocks[0]
        assert isinstance(block, Block)
        self.form = form
        self.num_layers, self.checkpointing = len(decoder.blocks), form.checkpointing or block.checkpointing
        self.width = decoder.embedding.embedding_dim
        self.hidden = block.feed_forward.down.in_features // form.tensor
        self.num_heads = decoder.num_heads // form.tensor
        kv_heads = decoder.num_kv_heads // form.tensor
        self.queries, self.keys = (heads * decoder.head_width for heads in (self.num_heads, kv_heads))
        self.qk_norm = block.attention.q_norm is not None
        self.dropout, self.attention_dropout = decoder.dropout.p, block.attention.dropout
        # On a CPU SDPA computes all scores when it has to drop some.
        self.keeps_scores = form.attention == "naive" or (not form.cuda and self.attention_dropout > 0)
        windowed = decoder.window is not None and decoder.window < form.length
        packed = isinstance(decoder, Transformer) and (form.cuda or form.length <= MASKED_LENGTH)
        by_sdpa = form.attention == "sdpa" or (form.attention == "auto" and not form.cuda)
        self.has_mask = by_sdpa and (windowed or packed)

    def total(self) -> Activations:
        """All blocks and what stands before and behind them; a backward first makes what a checkpoint left out."""
        whole = self.block()
        kept = {"none": whole, "blocks": self.width * self.form.stream, "selective": self.selective()}
        kept_of_block = kept[self.checkpointing]
        # Dropout of the embedding, final norm; ids, targets and documents.
        ends = self.noise(self.form.stream) + self.norm(self.width) + 3 * 8
        working = whole - kept_of_block + self.working()
        return Activations(
            kept=self.form.tokens * (self.num_layers * kept_of_block + ends),
            layers=self.form.tokens * self.num_layers * kept_of_block,
            layer=self.form.tokens * kept_of_block,
            working=self.form.tokens * working,
        )

    def block(self) -> int:
        """Without checkpointing."""
        inputs = (2 * self.width + self.queries) * self.form.number  # of q-k-v, gate-up, and out
        gated = 4 * self.hidden * self.form.number  # gate and up, SiLU of the gate, the product
        return 2 * self.norm(self.width) + inputs + gated + 2 * self.noise(self.form.number) + self.attention()

    def attention(self) -> int:
        """Rotated queries and keys, values, and of the weights all (T per head) or one log-sum-exp per head."""
        norms = self.norm(self.queries) + self.norm(self.keys) if self.qk_norm else 0
        if self.keeps_scores:
            # In fp32; with dropout also what is dropped, and what is left.
            scores = self.num_heads * self.form.length * FLOAT * (3 if self.attention_dropout > 0 else 1)
            return norms + 3 * self.queries * FLOAT + scores + self.form.length
        mask = self.form.length * self.form.number if self.has_mask else 0
        # The values are a view into the product that made queries, keys and values, which stays with them.
        made = self.queries + 2 * self.keys
        return norms + (self.queries + self.keys + made) * self.form.number + self.num_heads * FLOAT + mask

    def selective(self) -> int:
        """What enters the block, and what its four products and fused attention gave."""
        products = (self.queries + 2 * self.keys + self.width + 2 * self.hidden + self.width) * self.form.number
        attended = 0 if self.keeps_scores else self.queries * self.form.number + self.num_heads * FLOAT
        return self.width * self.form.stream + products + attended

    def working(self) -> int:
        """Gradients inside one block's backward: of the feed-forward or, where they are kept, of the scores."""
        scores = 2 * self.num_heads * self.form.length * FLOAT if self.keeps_scores else 0
        return 2 * self.width * self.form.stream + max(2 * self.hidden * self.form.number, scores)

    def norm(self, width: int) -> int:
        """CUDA keeps its input, the CPU its normalised form in fp32; both one scale."""
        return FLOAT + width * (self.form.stream if self.form.cuda else FLOAT)

    def noise(self, number: int) -> int:
        """Dropout keeps which numbers it dropped, the CPU in the type of what it dropped (`number` bytes)."""
        return self.width * (1 if self.form.cuda else number) if self.dropout > 0 else 0
