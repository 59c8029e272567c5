"""One batch as the classifier receives it; B is the number of reviews, T the tokens of the longest one."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Padded ids with what is needed to mask, score and trace them back."""

    ids: Tensor  # (B, T) int64, 0 where a review has ended
    lengths: Tensor  # (B,) int64, at least 1
    labels: Tensor  # (B,) int64
    rows: Tensor  # (B,) int64, row number in the source split
    # () float32: examples of this micro-batch / examples of its accumulation window, 1.0 without accumulation.
    # Weighting a mean loss with it makes the summed gradients those of the one big batch.
    share: Tensor

    @property
    def num_examples(self) -> int:
        """B."""
        return len(self.labels)

    @property
    def num_tokens(self) -> Tensor:
        """Tokens that are no padding, () int64, on the device of the batch."""
        return self.lengths.sum()
