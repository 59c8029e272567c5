"""One batch as the classifier receives it; B is the number of reviews, T the tokens of the longest one."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Padded ids with what is needed to mask, score and trace them back."""

    ids: Tensor  # (B, T) int64, 0 where a review has ended
    lengths: Tensor  # (B,) int64, at least 1
    labels: Tensor  # (B,) int64
    rows: Tensor  # (B,) int64, row number in the source split
    # Weighting a mean loss with it makes the summed gradients those of the one big batch, see src.data.sampler.Draw.
    # A number and no tensor: precision=bf16_true would round that by up to 0.2 %.
    share: float
    counts: bool = True  # False: a review of another rank, because this one has none

    @property
    def num_examples(self) -> int:
        """B, 0 for a batch that does not count."""
        return len(self.labels) * self.counts

    @property
    def num_tokens(self) -> Tensor:
        """Tokens that are no padding, () int64, on the device of the batch."""
        return self.lengths.sum() * self.counts
