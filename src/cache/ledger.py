"""Which sequences a cache holds, how many steps of each, and which selection may extend them."""

import heapq
from collections.abc import Sequence

from src.errors import UserError


class Ledger:
    """Host-side counts, so that no decision about memory has to wait for the device.

    capacity: sequences at a time, None for any number. max_length: steps that one sequence may have.
    """

    def __init__(self, *, max_length: int, capacity: int | None) -> None:
        self.max_length = max_length
        self.capacity = capacity
        self.stored: dict[int, int] = {}
        self._free: list[int] = []
        self._holder: dict[int, object] = {}

    @property
    def is_full(self) -> bool:
        return self.capacity is not None and len(self.stored) >= self.capacity

    def add(self) -> int:
        """The lowest free number.

        Raises:
            UserError: all `capacity` sequences are in use.
        """
        if self.is_full:
            raise UserError(
                f"All {self.capacity} sequences of the cache are in use; release one, or give it more slots."
            )
        number = heapq.heappop(self._free) if self._free else len(self.stored)
        self.stored[number] = 0
        return number

    def remove(self, number: int) -> None:
        self._require(number)
        del self.stored[number]
        self._holder.pop(number, None)
        heapq.heappush(self._free, number)

    def lend(self, numbers: Sequence[int], holder: object) -> list[int]:
        """Only `holder` may extend these sequences from now on; returns the steps stored of each."""
        if not numbers or len(set(numbers)) != len(numbers):
            raise ValueError(f"sequences ({list(numbers)}) must be different numbers, at least one.")
        for number in numbers:
            self._require(number)
            self._holder[number] = holder
        return [self.stored[number] for number in numbers]

    def check(self, numbers: Sequence[int], holder: object, steps: int) -> None:
        """Whether `holder` may store `steps` more of each.

        Raises:
            UserError: a sequence would outgrow max_length.
            RuntimeError: a sequence was selected again or released meanwhile, so the holder's lengths are stale.
        """
        for number in numbers:
            if self._holder.get(number) is not holder:
                raise RuntimeError(f"Sequence {number} was selected again or released; use the newest selection.")
            if self.stored[number] + steps > self.max_length:
                raise UserError(
                    f"max_length ({self.max_length}) must be at least {self.stored[number] + steps} to store {steps} "
                    f"more steps of a sequence that has {self.stored[number]}; make a longer cache or cut the text."
                )

    def count(self, numbers: Sequence[int], steps: int) -> None:
        for number in numbers:
            self.stored[number] += steps

    def _require(self, number: int) -> None:
        if number not in self.stored:
            raise ValueError(f"sequence ({number}) must be one that was added and not released: {sorted(self.stored)}.")
