"""Which reviews the LSTM loops are compared on: the same for all, spread over the lengths of an epoch."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from src.data.module import Reviews
from src.data.sampler import BatchOrder, Draw
from src.data.views import LabelledView
from src.errors import UserError

Views = dict[str, LabelledView]


def cut(views: Views, max_length: int) -> Views:
    """The same splits with reviews of at most `max_length` words, batches padded to their longest only."""
    return {
        name: replace(view, encoder=replace(view.encoder, max_length=max_length, pad_to_max_length=False))
        for name, view in views.items()
    }


def epoch_draws(data: Reviews, view: LabelledView, epoch: int) -> list[Draw]:
    """All batches of an epoch, in the data module's training order."""
    order = BatchOrder(view.lengths, batch_size=data.batch_size, bucket_batches=data.bucket_batches, seed=data.seed)
    return [Draw(indices, 1.0) for indices in order.batches(epoch)]


def representative(data: Reviews, view: LabelledView, batches: int) -> list[Draw]:
    """`batches` full batches of an epoch, evenly spread from the shortest to the longest, in random order.

    A random choice of 24 would miss the epoch's mean length by several percent, and with it the speed of our loops.
    """
    full = [draw for draw in epoch_draws(data, view, 0) if len(draw.indices) == data.batch_size]
    if len(full) < batches:
        raise UserError(
            f"suite.batches ({batches}) must be at most {len(full)}, the full batches of {data.batch_size} reviews "
            "in the training split; lower it or data.batch_size."
        )
    full.sort(key=lambda draw: view.lengths[draw.indices].max())
    middles = (np.arange(batches) + 0.5) * len(full) / batches
    return [full[place] for place in np.random.default_rng(data.seed).permutation(middles.astype(int))]


def write_reviews(views: Views, path: Path) -> None:
    """Train and val as arrays for the plain loop: <split>_ids (N, T), _lengths (N,), _labels (N,)."""
    arrays: dict[str, np.ndarray] = {}
    for split in ("train", "val"):
        view = views[split]
        batch = replace(view, encoder=replace(view.encoder, pad_to_max_length=True))[Draw(np.arange(len(view)), 1.0)]
        parts = {"ids": batch.ids.int(), "lengths": batch.lengths, "labels": batch.labels}
        arrays |= {f"{split}_{part}": tensor.numpy() for part, tensor in parts.items()}
    np.savez(path, allow_pickle=False, **arrays)
