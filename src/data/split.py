"""Which rows train and which are held out: seeded, stratified by label, identical texts always on one side."""

import numpy as np

from src.errors import UserError

HELD_OUT_PART = 10  # each held-out side takes one row in ten of every label


def stable_random(*seeds: int) -> np.random.RandomState:
    """Make a generator whose stream NumPy promises to keep in all later versions (the newer Generator does not)."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seeds)))


def split_rows(
    labels: np.ndarray, hashes: np.ndarray, *, num_held_out: int, seed: int, label_names: list[str]
) -> list[np.ndarray]:
    """Split rows into training and `num_held_out` further sides; returns their row numbers, training first.

    labels (N,) integers; hashes (N,): equal hash means identical text, and such rows move as one block.
    Every side gets its tenth of each label to the row, as long as blocks of identical texts allow it.
    Raises UserError when a label has too few distinct texts to be on every side.
    """
    _check_enough(labels, hashes, num_sides=num_held_out + 1, label_names=label_names)
    num_labels = len(label_names)
    _, block = np.unique(hashes, return_inverse=True)
    num_blocks = int(block.max()) + 1
    size = np.zeros((num_blocks, num_labels), dtype=np.int64)  # rows of each block, by label
    np.add.at(size, (block, labels), 1)

    per_label = np.bincount(labels, minlength=num_labels)
    wanted = np.maximum(1, (per_label + HELD_OUT_PART // 2) // HELD_OUT_PART)
    missing = [wanted.copy() for _ in range(num_held_out)]
    side = np.zeros(num_blocks, dtype=np.int64)
    for candidate in stable_random(seed).permutation(num_blocks):
        for number, need in enumerate(missing, start=1):
            if np.all(size[candidate] <= need):
                need -= size[candidate]
                side[candidate] = number
                break
        if not any(need.any() for need in missing):
            break
    sides = [np.flatnonzero(side[block] == number) for number in range(num_held_out + 1)]
    for rows in sides:
        if len(np.unique(labels[rows])) < num_labels:
            raise UserError(
                f"The {len(labels)} labelled rows cannot be split so that every label is on each of the "
                f"{len(sides)} sides, because too many texts are identical; add different reviews."
            )
    return sides


def _check_enough(labels: np.ndarray, hashes: np.ndarray, *, num_sides: int, label_names: list[str]) -> None:
    for label, name in enumerate(label_names):
        distinct = len(np.unique(hashes[labels == label]))
        if distinct < num_sides:
            raise UserError(
                f"Label {label} ({name}) has {distinct} distinct reviews, but a split into {num_sides} sides needs "
                f"at least {num_sides} of every label; add reviews or shorten data.label_names."
            )
