"""The order of batches: a pure function of (seed, epoch), so that a run can go on from any batch of any epoch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import SequentialSampler

from src.data.split import stable_random


class Draw(NamedTuple):
    """What a view needs to make one batch."""

    indices: np.ndarray  # (B,) positions in the view
    share: float  # rows of this batch / rows of its accumulation window
    epoch: int = 0  # for views whose examples change with it


# Both orders are SequentialSamplers by name only: Lightning replaces any other kind when it overfits a few batches,
# and its replacement hands out single rows.


class BatchOrder(SequentialSampler):
    """Training order: shuffled every epoch, reviews of similar length together.

    The epoch is shuffled, sorted by length inside pools of `bucket_batches` batches, cut, and the batches shuffled
    again; `bucket_batches=0` leaves the plain shuffle. The rows of the short last batch are taken from the shuffle
    before sorting: cut off after it, they would be the longest reviews of a pool in every epoch.

    `position` is the batch at which the next iteration starts, and goes back to 0 once that iteration begins.
    `accumulate` batches make one window; `limit` batches make an epoch if the trainer stops it early; `frozen` keeps
    the order of epoch 0 in all epochs.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        *,
        batch_size: int,
        bucket_batches: int,
        seed: int,
        accumulate: int = 1,
        limit: int | None = None,
        frozen: bool = False,
        position: int = 0,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.bucket_batches = bucket_batches
        self.seed = seed
        self.accumulate = accumulate
        self.limit = limit
        self.frozen = frozen
        self.position = position
        self.epoch = 0

    def __len__(self) -> int:
        """Count the batches of a whole epoch, wherever the next iteration starts."""
        return -(-len(self.lengths) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Draw]:  # type: ignore[override]
        start, self.position = self.position, 0
        return self._draws(0 if self.frozen else self.epoch, start)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """List the batches of an epoch, each (B,) positions."""
        random = stable_random(self.seed, epoch)
        order = random.permutation(len(self.lengths))
        num_full = len(order) // self.batch_size
        full, rest = np.split(order, [num_full * self.batch_size])
        if self.bucket_batches:
            pool = self.bucket_batches * self.batch_size
            pools = [full[start : start + pool] for start in range(0, len(full), pool)]
            full = np.concatenate([rows[np.argsort(self.lengths[rows], kind="stable")] for rows in pools] or [full])
        batches = list(full.reshape(num_full, self.batch_size))
        if self.bucket_batches:
            batches = [batches[number] for number in random.permutation(num_full)]
        return batches + ([rest] if len(rest) else [])

    def _draws(self, epoch: int, start: int) -> Iterator[Draw]:
        batches = self.batches(epoch)
        end = len(batches) if self.limit is None else min(self.limit, len(batches))
        for number in range(start, len(batches)):
            first = number - number % self.accumulate
            window = batches[first : min(first + self.accumulate, end if number < end else len(batches))]
            yield Draw(batches[number], len(batches[number]) / sum(map(len, window)), epoch)


class SortedOrder(SequentialSampler):
    """Order for evaluation: longest reviews first, so that padding is least and a lack of memory shows at once."""

    def __init__(self, lengths: np.ndarray, *, batch_size: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[Draw]:  # type: ignore[override]
        # Rows often come sorted by label; without the shuffle the reviews cut to one length would too, and the first
        # batches (limit_val_batches) would hold a single class.
        order = stable_random(0).permutation(len(self.lengths))
        order = order[np.argsort(-self.lengths[order], kind="stable")]
        for start in range(0, len(order), self.batch_size):
            yield Draw(order[start : start + self.batch_size], 1.0)
