"""One batch as a language model receives it: B blocks of T tokens cut from a stream of documents."""

from typing import NamedTuple

from torch import Tensor

NOT_COUNTED = -100  # the target that torch's cross-entropy leaves out


class Block(NamedTuple):
    """Tokens, what follows each of them, and which of them may see each other."""

    ids: Tensor  # (B, T) int64
    targets: Tensor  # (B, T) int64, the next token of the stream; NOT_COUNTED behind the end of the last document
    documents: Tensor  # (B, T) int64, number of the token's document within its row, from 0
    num_bytes: Tensor  # () int64, UTF-8 bytes that the counted targets stand for
    share: float  # see src.data.sampler.Draw
    counts: bool = True  # False: a block of another rank, because this one has none

    @property
    def num_examples(self) -> int:
        """B, 0 for a batch that does not count."""
        return len(self.ids) * self.counts

    @property
    def num_tokens(self) -> Tensor:
        """Counted targets, () int64, on the device of the batch."""
        return (self.targets != NOT_COUNTED).sum() * self.counts
