"""Keys and values in pages of fixed size: memory follows what is stored, and what a finished text had goes to the next.

Legend: L layers, B rows of one forward, K key-value heads, T steps of this forward, S steps so far, E head width,
P pages of the longest row. Any attention backend reads it, because the pages of each row are gathered into dense keys:
one copy of all keys per layer and step, which is what it costs against the contiguous cache.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from src.cache.ledger import Ledger
from src.cache.numbers import check_input, check_sizes, make_store
from src.cache.pages import Pages


class PagedCache:
    """Any number of sequences of up to `max_length` steps in pages of `page_size`.

    num_pages: pages there will ever be; None begins with one for each of `slots` and doubles when they run out.
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
        page_size: Annotated[int, ">= 1"] = 16,
        num_pages: Annotated[int | None, ">= 1"] = None,
    ) -> None:
        sizes = dict(num_layers=num_layers, num_kv_heads=num_kv_heads, head_width=head_width, max_length=max_length)
        check_sizes(**sizes, slots=slots, page_size=page_size, num_pages=1 if num_pages is None else num_pages)
        # Heads inside a page, so that gathering pages copies whole rows of memory and the result needs no second copy.
        self.page_shape = (page_size, num_kv_heads, head_width)
        first = num_pages or slots
        # One tensor per layer: growing then needs twice the memory of a single layer, not of all.
        self.keys = [make_store((first, *self.page_shape), dtype=dtype, device=device) for _ in range(num_layers)]
        self.values = [make_store((first, *self.page_shape), dtype=dtype, device=device) for _ in range(num_layers)]
        self.pages = Pages(page_size=page_size, num_pages=first, fixed=num_pages is not None, grow=self._grow)
        self.ledger = Ledger(max_length=max_length, capacity=None)

    @property
    def bytes(self) -> int:
        return sum(store.nbytes for store in (*self.keys, *self.values))

    def fits(self, steps: int) -> bool:
        return steps <= self.ledger.max_length and self.pages.fits(steps)

    def add(self, steps: int = 0) -> int:
        number = self.ledger.add()
        try:
            self.pages.open(number, steps=steps)
        except Exception:
            self.ledger.remove(number)
            raise
        return number

    def release(self, sequence: int) -> None:
        self.ledger.remove(sequence)
        pages = torch.tensor(self.pages.close(sequence), dtype=torch.int64, device=self.keys[0].device)
        # A masked key has weight 0, but 0 times the NaN that a broken sequence left behind is NaN.
        for store in (*self.keys, *self.values):
            store.index_fill_(0, pages, 0)

    def select(self, sequences: Sequence[int]) -> "PagedRows":
        return PagedRows(self, list(sequences))

    def _grow(self, num_pages: int) -> None:
        for stores in (self.keys, self.values):
            for layer, old in enumerate(stores):
                new = make_store((num_pages, *self.page_shape), dtype=old.dtype, device=old.device)
                new[: len(old)] = old
                stores[layer] = new


class PagedRows:
    """Some sequences of a PagedCache as the rows of a forward; see `src.cache.protocol.Rows`."""

    def __init__(self, cache: PagedCache, sequences: list[int]) -> None:
        stored = cache.ledger.lend(sequences, self)
        self.cache = cache
        self.sequences = sequences
        self.length = max(stored)
        self.is_even = min(stored) == self.length
        self.lengths = torch.tensor(stored, device=cache.keys[0].device)
        self.table: Tensor | None = None  # (B, P) page numbers
        self.place: Tensor | None = None  # (B T,) where the new steps go, counted in steps over all pages

    @property
    def bytes(self) -> int:
        owned = sum(len(self.cache.pages.tables[number]) for number in self.sequences)
        return self.cache.bytes // self.cache.pages.num_pages * owned

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if layer == 0:
            self.start(k, k.shape[2])
        return self.store(self.cache.keys[layer], k), self.store(self.cache.values[layer], v)

    def store(self, pages: Tensor, new: Tensor) -> Tensor:
        """Write new (B, K, T, E) into the pages of one layer, and gather all steps so far (B, K, S, E)."""
        assert self.place is not None, "layer 0 comes first"
        assert self.table is not None
        rows, heads, steps, width = new.shape
        pages.view(-1, heads, width).index_copy_(0, self.place, new.transpose(1, 2).reshape(-1, heads, width))
        if self.length == 0:
            return new  # the first forward of a sequence has all its steps in its hands already
        dense = pages.index_select(0, self.table.flatten()).view(rows, -1, heads, width)
        return dense[:, : self.length + steps].transpose(1, 2)

    def start(self, k: Tensor, steps: int) -> None:
        """What all layers of a forward share: room for the new steps, and where they go."""
        check_input(k, self.cache.keys[0], rows=len(self.sequences))
        self.cache.ledger.check(self.sequences, self, steps)
        ends = [self.cache.ledger.stored[number] + steps for number in self.sequences]
        if self.cache.pages.reserve(self.sequences, ends) or self.table is None:
            self.table = self.read_table()
        size = self.cache.pages.page_size
        positions = self.lengths[:, None] + torch.arange(steps, device=self.lengths.device)
        pages = self.table.gather(1, positions // size)
        self.place = (pages * size + positions % size).flatten()

    def read_table(self) -> Tensor:
        """(B, P). A shorter row repeats its own first page: behind its end nothing of another sequence is ever read."""
        tables = [self.cache.pages.tables[number] for number in self.sequences]
        widest = max(map(len, tables))
        padded = [table + table[:1] * (widest - len(table)) for table in tables]
        return torch.tensor(padded, device=self.lengths.device)

    def key_lengths(self, steps: int) -> Tensor | None:
        return None if self.is_even else self.lengths + steps

    def advance(self, steps: int) -> None:
        self.lengths.add_(steps)
        self.length += steps
        self.cache.ledger.count(self.sequences, steps)
