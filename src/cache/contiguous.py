"""Keys and values in one preallocated block, written in place: the fastest cache, as large as the longest text allowed.

Legend: L layers, B rows of one forward, K key-value heads, T steps of this forward, S steps so far, E head width.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from src.cache.ledger import Ledger
from src.cache.numbers import check_input, check_sizes, make_store, recording


class ContiguousCache:
    """`slots` sequences of up to `max_length` steps, (slots, K, max_length, E) for keys and for values of each layer.

    static: always hand out all max_length keys and say by `key_lengths` which are real, so that no shape ever changes
    and a decode step can be one CUDA graph. It reads max_length keys per step, however few are real.
    """

    def __init__(
        self,
        *,
        num_layers: Annotated[int, ">= 1"],
        num_kv_heads: Annotated[int, ">= 1"],
        head_width: Annotated[int, ">= 1"],
        max_length: Annotated[int, ">= 1"],
        slots: Annotated[int, ">= 1"] = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        static: bool = False,
    ) -> None:
        sizes = dict(num_layers=num_layers, num_kv_heads=num_kv_heads, head_width=head_width, max_length=max_length)
        check_sizes(**sizes, slots=slots)
        shape = (slots, num_kv_heads, max_length, head_width)
        # One tensor per layer: a compiler keeps writes to one layer apart from reads of another.
        self.keys = [make_store(shape, dtype=dtype, device=device) for _ in range(num_layers)]
        self.values = [make_store(shape, dtype=dtype, device=device) for _ in range(num_layers)]
        self.static = static
        self.ledger = Ledger(max_length=max_length, capacity=slots)

    @property
    def bytes(self) -> int:
        return sum(store.nbytes for store in (*self.keys, *self.values))

    def fits(self, steps: int) -> bool:
        return not self.ledger.is_full and steps <= self.ledger.max_length

    def add(self, steps: int = 0) -> int:
        return self.ledger.add()

    def release(self, sequence: int) -> None:
        self.ledger.remove(sequence)
        # A masked key has weight 0, but 0 times the NaN that a broken sequence left behind is NaN.
        for store in (*self.keys, *self.values):
            store[sequence].zero_()

    def select(self, sequences: Sequence[int]) -> "ContiguousRows":
        return ContiguousRows(self, list(sequences))


class ContiguousRows:
    """Some slots of a ContiguousCache as the rows of a forward; see `src.cache.protocol.Rows`."""

    def __init__(self, cache: ContiguousCache, slots: list[int]) -> None:
        stored = cache.ledger.lend(slots, self)
        self.cache = cache
        self.slots = slots
        self.length = max(stored)
        # Rows of one length need no mask, and one slice instead of an index per row.
        self.is_even = min(stored) == self.length and not cache.static
        device, num_slots = cache.keys[0].device, len(cache.keys[0])
        self.lengths = torch.tensor(stored, device=device)
        # Neighbouring slots are read through a view, others have to be copied together.
        self.is_range = slots == list(range(slots[0], slots[0] + len(slots)))
        first, count = (slots[0], len(slots)) if self.is_range else (0, num_slots)
        self.layers = [
            (keys[first : first + count], values[first : first + count])
            for keys, values in zip(cache.keys, cache.values, strict=True)
        ]
        self.index = torch.tensor([slot - first for slot in slots], device=device)
        self.place: tuple[Tensor, Tensor] | None = None

    @property
    def bytes(self) -> int:
        return self.cache.bytes // len(self.cache.keys[0]) * len(self.slots)

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.layers[layer]
        steps = k.shape[2]
        if layer == 0:
            self.start(k, steps)
        if self.is_even and self.is_range:
            keys.narrow(2, self.length, steps).copy_(k)
            values.narrow(2, self.length, steps).copy_(v)
        else:
            assert self.place is not None, "layer 0 comes first"
            keys.transpose(1, 2).index_put_(self.place, k.transpose(1, 2))
            values.transpose(1, 2).index_put_(self.place, v.transpose(1, 2))
        if not self.is_range:
            keys, values = keys.index_select(0, self.index), values.index_select(0, self.index)
        if self.cache.static:
            return keys, values
        end = self.length + steps
        return keys.narrow(2, 0, end), values.narrow(2, 0, end)

    def start(self, k: Tensor, steps: int) -> None:
        """What all layers of a forward share: whether there is room, and where the new steps go."""
        check_input(k, self.cache.keys[0], rows=self.lengths.shape[0])
        if not recording(self.lengths):
            self.check(steps)
        if not (self.is_even and self.is_range):
            positions = self.lengths[:, None] + torch.arange(steps, device=self.lengths.device)
            self.place = (self.index[:, None], positions)

    def key_lengths(self, steps: int) -> Tensor | None:
        return None if self.is_even else self.lengths + steps

    def advance(self, steps: int) -> None:
        self.lengths.add_(steps)
        self.place = None
        # Under a compiler or in a CUDA graph this line would run once, not once per step: who replays, counts.
        if not recording(self.lengths):
            self.count(steps)

    def check(self, steps: int) -> None:
        """Whether `steps` more may be stored; who replays a recorded forward, asks first."""
        self.cache.ledger.check(self.slots, self, steps)

    def count(self, steps: int) -> None:
        """The host's side of `advance`; negative to take steps back."""
        self.cache.ledger.count(self.slots, steps)
        self.length += steps

    def rewind(self, steps: int) -> None:
        """Forget the last `steps` of every row."""
        self.lengths.sub_(steps)
        self.count(-steps)
