"""Documents behind each other as one stream, cut into blocks of T tokens; handed out in whole batches.

Every document begins with END and one more END closes the stream, so that a stream of N tokens has N targets: each
token but the first END is one, and so is the end of each document. Block b reads tokens bT to bT + T - 1 and predicts
those one further on; the token between two blocks is the last target of one and the first token of the other.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from src.data.block import NOT_COUNTED, Block
from src.data.bpe import Bpe
from src.data.corpus import Side
from src.data.sampler import Draw
from src.data.split import stable_random

# Tells the order of documents from the order of blocks, which is drawn from (seed, epoch).
DOCUMENTS = 1


class Packing(NamedTuple):
    """The stream of one epoch; D documents in its order, and behind them the END that closes it."""

    ends: np.ndarray  # (D,) place in the stream where each document has ended
    shift: np.ndarray  # (D + 1,) from a place in the stream to the place in the document's split
    split: np.ndarray  # (D + 1,) which split holds the document, -1 for none


class PackedView:
    """The documents of some sides as blocks of `length` tokens; index it with a Draw to get a Block.

    With a `seed` the documents are shuffled anew for every epoch, which takes 5 ms for 75,000 of them (nothing is
    copied: a batch is gathered from the memory-mapped tokens), and a last block that is not full is left out. Without,
    they stay in order and the last block is padded, so that every target is counted once.
    """

    def __init__(self, sides: Sequence[Side], *, length: int, token_bytes: np.ndarray, seed: int | None) -> None:
        # The caches and not their arrays: a worker process maps the files of a cache instead of receiving a copy.
        self.tokens = [side.tokens for side in sides]
        self.starts = np.concatenate([side.tokens.offsets[side.rows] for side in sides])
        self.sizes = np.concatenate([side.tokens.lengths[side.rows] for side in sides])
        self.splits = np.repeat(np.arange(len(sides)), [len(side.rows) for side in sides])
        self.num_tokens = int(self.sizes.sum())
        self.length, self.token_bytes, self.seed = length, token_bytes, seed
        self._last: tuple[int, Packing] | None = None

    def __len__(self) -> int:
        return self.num_tokens // self.length if self.seed is not None else -(-self.num_tokens // self.length)

    @property
    def lengths(self) -> np.ndarray:
        """Counted targets of each block (number of blocks,)."""
        return np.minimum(self.length, self.num_tokens - np.arange(len(self)) * self.length)

    def packing(self, epoch: int) -> Packing:
        """The stream of an epoch, a pure function of (seed, epoch)."""
        if self._last is None or self._last[0] != epoch:
            order = np.arange(len(self.sizes))
            if self.seed is not None:
                order = stable_random(self.seed, epoch, DOCUMENTS).permutation(order)
            ends = np.cumsum(self.sizes[order])
            shift = self.starts[order] - (ends - self.sizes[order])
            self._last = epoch, Packing(ends, np.append(shift, 0), np.append(self.splits[order], -1))
        return self._last[1]

    def __getitem__(self, draw: Draw) -> Block:
        packing = self.packing(draw.epoch)
        place = draw.indices[:, None] * self.length + np.arange(self.length + 1)  # (B, T + 1)
        document = np.searchsorted(packing.ends, place, side="right")
        tokens = np.full(place.shape, Bpe.END, dtype=np.int64)
        for split, cache in enumerate(self.tokens):
            here = packing.split[document] == split
            tokens[here] = cache.numbers[(place + packing.shift[document])[here]]
        counted = place[:, 1:] <= self.num_tokens
        targets = np.where(counted, tokens[:, 1:], NOT_COUNTED)
        return Block(
            ids=torch.from_numpy(tokens[:, :-1].copy()),
            targets=torch.from_numpy(targets),
            documents=torch.from_numpy(document[:, :-1] - document[:, :1]),
            num_bytes=torch.tensor(self.token_bytes[targets[counted]].sum()),
            share=draw.share,
            counts=draw.counts,
        )
