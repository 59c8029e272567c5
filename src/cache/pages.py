"""Fixed-size pages, and a table per sequence that says which are its own.

Kwon et al. 2023, PagedAttention, arXiv:2309.06180, section 4; without sharing, copying or swapping of pages.
"""

import heapq
from collections.abc import Callable

from src.errors import UserError


class Pages:
    """Numbers only: who owns which page. The memory is elsewhere; `grow(num_pages)` is called when it must be larger.

    page_size: steps per page. num_pages: pages to begin with. fixed: whether that is all there will ever be.
    """

    def __init__(self, *, page_size: int, num_pages: int, fixed: bool, grow: Callable[[int], None]) -> None:
        self.page_size = page_size
        self.num_pages = num_pages
        self.fixed = fixed
        self.tables: dict[int, list[int]] = {}
        self._grow = grow
        self._free = list(range(num_pages))  # a heap: low numbers first, so that what is used stays together
        self._promised: dict[int, int] = {}

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_promised(self) -> int:
        """Pages that sequences were promised and do not have yet."""
        return sum(max(0, pages - len(self.tables[number])) for number, pages in self._promised.items())

    def count(self, steps: int) -> int:
        """Pages that hold `steps`."""
        return -(-steps // self.page_size)

    def fits(self, steps: int) -> bool:
        return not self.fixed or self.count(steps) <= self.num_free - self.num_promised

    def open(self, sequence: int, *, steps: int) -> None:
        """An empty table that is promised room for `steps`.

        Raises:
            UserError: there are not so many free pages.
        """
        if not self.fits(steps):
            raise self._full(self.count(steps), self.num_free - self.num_promised)
        self.tables[sequence] = []
        self._promised[sequence] = self.count(steps)

    def close(self, sequence: int) -> list[int]:
        """The pages that the sequence had; they are free from now on."""
        del self._promised[sequence]
        pages = self.tables.pop(sequence)
        for page in pages:
            heapq.heappush(self._free, page)
        return pages

    def reserve(self, sequences: list[int], ends: list[int]) -> bool:
        """Give each sequence the pages for its first `ends[i]` steps; whether any table changed. All or nothing.

        Raises:
            UserError: the pages are fixed in number and run out.
        """
        wanted = [
            max(0, self.count(end) - len(self.tables[number])) for number, end in zip(sequences, ends, strict=True)
        ]
        missing = sum(wanted) - self.num_free
        if missing > 0:
            self._enlarge(missing, sum(wanted))
        for number, count in zip(sequences, wanted, strict=True):
            self.tables[number] += [heapq.heappop(self._free) for _ in range(count)]
        return any(wanted)

    def _enlarge(self, missing: int, wanted: int) -> None:
        if self.fixed:
            raise self._full(wanted, self.num_free)
        pages = max(2 * self.num_pages, self.num_pages + missing)
        self._grow(pages)
        for page in range(self.num_pages, pages):
            heapq.heappush(self._free, page)
        self.num_pages = pages

    def _full(self, wanted: int, free: int) -> UserError:
        return UserError(
            f"cache.num_pages ({self.num_pages}) is too small: {wanted} pages of {self.page_size} steps are needed, "
            f"{free} are free. Give more, null for any number, or decode fewer and shorter texts at a time."
        )
