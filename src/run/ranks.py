"""What the ranks of a job tell each other about files: small objects, through a CPU group of their own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import distributed

from src.errors import UserError

T = TypeVar("T")


class Ranks:
    """All ranks of the job; one rank where no process group is initialised.

    Making one is collective. The group is not one of training, so that a thread may use it meanwhile, and it is gloo,
    because NCCL carries no objects of the CPU.
    """

    def __init__(self) -> None:
        self._group = distributed.new_group(backend="gloo") if distributed.is_initialized() else None
        self.rank = distributed.get_rank(self._group) if self._group is not None else 0
        self.size = distributed.get_world_size(self._group) if self._group is not None else 1

    def close(self) -> None:
        """Give the group back; every rank calls it."""
        if self._group is not None and distributed.is_initialized():
            distributed.destroy_process_group(self._group)
        self._group = None

    def together(self, work: Callable[[], T]) -> T:
        """Every rank does `work` and gets its own result.

        Raises on every rank if it failed on any: there its own error, elsewhere one that names the rank.
        """
        error: Exception | None = None
        try:
            result = work()
        except Exception as failure:
            error = failure
        sent = self.gather(_sent(error))
        failures = self.broadcast({rank: failure for rank, failure in enumerate(sent) if failure is not None})
        if error is not None:
            raise error
        for rank, other in failures.items():
            raise type(other)(f"Rank {rank}: {other}")
        return result

    def first(self, work: Callable[[], T]) -> T | None:
        """Rank 0 does `work` and gets its result, while the others wait; raises on every rank if it failed."""
        error, result = None, None
        if self.rank == 0:
            try:
                result = work()
            except Exception as failure:
                error = failure
        sent = self.broadcast(_sent(error))
        if error is not None:
            raise error
        if sent is not None:
            raise sent
        return result

    def scatter(self, values: list[T]) -> T:
        """Rank r gets values[r] of rank 0."""
        if self._group is None:
            return values[0]
        received: list[Any] = [None]
        distributed.scatter_object_list(received, values if self.rank == 0 else None, src=0, group=self._group)
        return received[0]

    def broadcast(self, value: T) -> T:
        """What rank 0 gives, on every rank."""
        if self._group is None:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, group=self._group)
        return values[0]

    def gather(self, value: T) -> list[T]:
        """The values of all ranks on rank 0, in their order; an empty list on the others."""
        if self._group is None:
            return [value]
        values: list[Any] | None = [None] * self.size if self.rank == 0 else None
        distributed.gather_object(value, values, dst=0, group=self._group)
        return values or []


@contextmanager
def all_ranks() -> Iterator[Ranks]:
    """The ranks for one piece of work; every rank enters and leaves."""
    ranks = Ranks()
    try:
        yield ranks
    finally:
        ranks.close()


def _sent(error: Exception | None) -> Exception | None:
    """An error that any process can unpickle and that keeps its exit code."""
    if error is None:
        return None
    return UserError(str(error)) if isinstance(error, UserError) else RuntimeError(f"{type(error).__name__}: {error}")
