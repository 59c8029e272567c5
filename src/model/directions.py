"""A function of tensors applied to both directions of a layer, each direction on a core of its own.

A bidirectional LSTM layer is two independent LSTMs, and oneDNN's LSTM kernel hardly uses a second core (1.2 times
faster at batch 64), so one core per direction is the better use of two cores. The result and the gradients are those
of the two calls made one after the other.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Function = Callable[..., Tensor]


class Modes(NamedTuple):
    """The modes torch keeps per thread, which a worker does not inherit and has to enter itself."""

    inference: bool
    autocast: torch.dtype | None

    @classmethod
    def current(cls) -> "Modes":
        """The modes of the calling thread; only the CPU's autocast counts, since workers serve the CPU alone."""
        autocast = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        return cls(torch.is_inference_mode_enabled(), autocast)

    @contextmanager
    def entered(self, *, grad: bool) -> Iterator[None]:
        """These modes in the calling thread. Gradients come last: leaving inference mode switches them on."""
        autocast = torch.autocast("cpu", dtype=self.autocast, enabled=self.autocast is not None)
        with torch.inference_mode(self.inference), torch.set_grad_enabled(grad), autocast:
            yield


class Workers:
    """Two threads with half of the caller's intra-op threads each, started on first use.

    A copy or a forked child starts its own, and so does the caller after a change of its number of threads.
    """

    def __init__(self) -> None:
        self.pool: ThreadPoolExecutor | None = None
        self.made_for: tuple[int, int] | None = None

    def __reduce__(self) -> tuple[type["Workers"], tuple[()]]:
        return Workers, ()

    def run(self, jobs: Sequence[Callable[[], Any]]) -> list[Any]:
        """Runs both jobs to their end, then returns their results or raises the first error."""
        # Threads do not survive a fork: a pool inherited from the parent would wait for ever.
        wanted = (os.getpid(), torch.get_num_threads())
        if self.pool is None or self.made_for != wanted:
            self.pool, self.made_for = start_pool(), wanted
        futures = [self.pool.submit(job) for job in jobs]
        wait(futures)
        return [future.result() for future in futures]


def start_pool() -> ThreadPoolExecutor:
    """Two threads that share the caller's cores; the caller keeps its own number, which setting theirs would reset."""
    threads = torch.get_num_threads()
    ready = threading.Barrier(3)

    def start() -> None:
        torch.set_num_threads(max(1, threads // 2))
        # The first question makes torch settle this thread's number. Left to the first kernel it would be the
        # caller's, restored by then: four threads on two cores.
        torch.get_num_threads()
        ready.wait()

    pool = ThreadPoolExecutor(2, thread_name_prefix="direction", initializer=start)
    for _ in range(2):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(threads)
    return pool


class SideBySide(torch.autograd.Function):
    """Both calls as one node of the graph: each worker keeps the graph of its own half and runs it backward."""

    @staticmethod
    def forward(ctx: Any, workers: Workers, function: Function, modes: Modes, *tensors: Tensor) -> tuple[Tensor, ...]:
        def job(inputs: tuple[Tensor, ...]) -> tuple[list[Tensor], Tensor]:
            with modes.entered(grad=True):
                leaves = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in inputs]
                return leaves, function(*leaves)

        middle = len(tensors) // 2
        ctx.workers = workers
        ctx.halves = workers.run([lambda: job(tensors[:middle]), lambda: job(tensors[middle:])])
        return tuple(output.detach() for _, output in ctx.halves)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        def job(half: tuple[list[Tensor], Tensor], gradient: Tensor) -> list[Tensor | None]:
            leaves, output = half
            found = iter(torch.autograd.grad(output, [leaf for leaf in leaves if leaf.requires_grad], gradient))
            return [next(found) if leaf.requires_grad else None for leaf in leaves]

        jobs = [lambda pair=pair: job(*pair) for pair in zip(ctx.halves, gradients, strict=True)]
        forward, reverse = ctx.workers.run(jobs)
        return None, None, None, *forward, *reverse


def side_by_side(
    workers: Workers, function: Function, forward: Sequence[Tensor], reverse: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """(function(*forward), function(*reverse)), computed at the same time. CPU tensors only.

    `function` must be differentiable, draw no random numbers and depend on nothing trained but its arguments.
    Raises RuntimeError at a second backward through the same graph: the halves' graphs are freed by the first.
    """
    modes = Modes.current()
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*forward, *reverse)):
        return SideBySide.apply(workers, function, modes, *forward, *reverse)

    def job(inputs: Sequence[Tensor]) -> Tensor:
        with modes.entered(grad=False):
            return function(*inputs)

    left, right = workers.run([lambda: job(forward), lambda: job(reverse)])
    return left, right
