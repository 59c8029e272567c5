"""The order of batches: a pure function of (seed, epoch), so that a run can go on from any batch of any epoch.

N ranks with batches of B rows train on what one process with batches of N x B rows would: a rank takes every N-th row.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import SequentialSampler

from src.data.split import stable_random


class Readers(NamedTuple):
    """The processes that train one network on different rows, and which of them this one is."""

    size: int = 1
    rank: int = 0


ALONE = Readers()


class Draw(NamedTuple):
    """What a view needs to make one batch."""

    indices: np.ndarray  # (B,) positions in the view
    # Rows of this batch / rows of its accumulation window on all ranks, times the ranks: strategies average gradients
    # over ranks, which divides by their number again.
    share: float
    epoch: int = 0  # for views whose examples change with it
    counts: bool = True  # False: one row of another rank, so that a rank without rows takes part in the step


# Both orders are SequentialSamplers by name only: Lightning replaces any other kind when it overfits a few batches,
# and its replacement hands out single rows.


class BatchOrder(SequentialSampler):
    """Training order: shuffled every epoch, reviews of similar length together.

    The epoch is shuffled, sorted by length inside pools of `bucket_batches` batches, cut, and the batches shuffled
    again; `bucket_batches=0` leaves the plain shuffle. The rows of the short last batch are taken from the shuffle
    before sorting: cut off after it, they would be the longest reviews of a pool in every epoch.

    `position` is the batch at which the next iteration starts, and goes back to 0 once that iteration begins.
    `accumulate` batches make one window; `limit` batches make an epoch if the trainer stops it early; `frozen` keeps
    the order of epoch 0 in all epochs. `batch_size` rows are those of one of the `readers`.
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
        readers: Readers = ALONE,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.bucket_batches = bucket_batches
        self.seed = seed
        self.accumulate = accumulate
        self.limit = limit
        self.frozen = frozen
        self.position = position
        self.readers = readers
        self.epoch = 0

    def __len__(self) -> int:
        """Count the batches of a whole epoch, wherever the next iteration starts."""
        return -(-len(self.lengths) // (self.batch_size * self.readers.size))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Draw]:  # type: ignore[override]
        # A generator, because a loader with workers makes two iterators and uses the second.
        start, self.position = self.position, 0
        yield from self._draws(0 if self.frozen else self.epoch, start)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """List the batches of an epoch over all ranks, each (B x ranks,) positions."""
        random = stable_random(self.seed, epoch)
        order = random.permutation(len(self.lengths))
        size = self.batch_size * self.readers.size
        num_full = len(order) // size
        full, rest = np.split(order, [num_full * size])
        if self.bucket_batches:
            pool = self.bucket_batches * size
            pools = [full[start : start + pool] for start in range(0, len(full), pool)]
            full = np.concatenate([rows[np.argsort(self.lengths[rows], kind="stable")] for rows in pools] or [full])
        batches = list(full.reshape(num_full, size))
        if self.bucket_batches:
            batches = [batches[number] for number in random.permutation(num_full)]
        return batches + ([rest] if len(rest) else [])

    def weight(self, rows: np.ndarray) -> int:
        """What some rows count in the mean that is trained on."""
        return len(rows)

    def _draws(self, epoch: int, start: int) -> Iterator[Draw]:
        batches = self.batches(epoch)
        end = len(batches) if self.limit is None else min(self.limit, len(batches))
        for number in range(start, len(batches)):
            first = number - number % self.accumulate
            window = batches[first : min(first + self.accumulate, end if number < end else len(batches))]
            rows = batches[number][self.readers.rank :: self.readers.size]
            if len(rows):
                yield Draw(rows, self.readers.size * self.weight(rows) / sum(map(self.weight, window)), epoch)
            else:
                yield Draw(batches[number][:1], 0.0, epoch, counts=False)


class SortedOrder(SequentialSampler):
    """Order for evaluation: longest reviews first, so that padding is least and a lack of memory shows at once.

    The ranks take turns at the batches of one process, so that every row is computed among the same others and comes
    out to the bit the same; those that go empty in the last turn repeat the shortest row, which does not count.
    """

    def __init__(self, lengths: np.ndarray, *, batch_size: int, readers: Readers = ALONE) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.readers = readers

    def __len__(self) -> int:
        return -(-len(self.lengths) // (self.batch_size * self.readers.size))

    def __iter__(self) -> Iterator[Draw]:  # type: ignore[override]
        # Rows often come sorted by label; without the shuffle the reviews cut to one length would too, and the first
        # batches (limit_val_batches) would hold a single class.
        order = stable_random(0).permutation(len(self.lengths))
        order = order[np.argsort(-self.lengths[order], kind="stable")]
        for turn in range(len(self)):
            start = (turn * self.readers.size + self.readers.rank) * self.batch_size
            if start < len(order):
                yield Draw(order[start : start + self.batch_size], 1.0)
            else:
                yield Draw(order[-1:], 0.0, counts=False)
