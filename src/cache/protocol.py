"""What a cache promises the network that fills it and the generator that manages it.

Legend: B rows of one forward, K key-value heads, T steps of this forward, S all steps so far, E head width.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Rows(Protocol):
    """The sequences of one forward, in the order of its batch rows. Valid until one of them is selected again."""

    lengths: Tensor  # (B,) int64 on the device of the cache: steps stored of each row
    length: int  # the longest of them

    @property
    def bytes(self) -> int:
        """Memory that these rows hold."""

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k and v (B, K, T, E) behind what `layer` holds; returns all its keys and values (B, K, S, E)."""

    def key_lengths(self, steps: int) -> Tensor | None:
        """(B,) real keys of each row once `steps` more are stored; None if every key of every row is real."""

    def advance(self, steps: int) -> None:
        """Once per forward, behind the last layer."""


class Cache(Protocol):
    """Sequences come and go; each has a number from `add` until `release`."""

    @property
    def bytes(self) -> int:
        """Memory allocated."""

    def fits(self, steps: int) -> bool:
        """Whether a new sequence is sure of room for `steps`, counting what others were promised."""

    def add(self, steps: int = 0) -> int:
        """A new, empty sequence that is promised room for `steps`; returns its number, the lowest that is free."""

    def release(self, sequence: int) -> None:
        """Give the memory of a sequence back."""

    def select(self, sequences: Sequence[int]) -> Rows:
        """The batch rows of the forwards to come; numbers in ascending order without a gap are the fastest."""
