"""The ways to decode that suite=decode compares, each behind the same few methods."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from src.cache.contiguous import ContiguousCache, ContiguousRows
from src.cache.paged import PagedCache
from src.cache.protocol import Cache, Rows
from src.generation.compiled import CompiledStep
from src.generation.graph import GraphedStep
from src.generation.memory import make_cache
from src.model.transformer import Transformer


class Contender(Protocol):
    """bytes: memory held at the end of a run."""

    bytes: int

    def run(self, prompt: Tensor, lengths: Sequence[int]) -> tuple[list[float], Tensor]:
        """Decode greedily from prompt (B, P): seconds until texts of each length are there, and the texts."""


class Concatenated:
    """A cache that joins old and new keys in new memory at every step, as many a first version does."""

    def __init__(self, num_layers: int, rows: int, device: torch.device) -> None:
        self.held: list[tuple[Tensor, Tensor] | None] = [None] * num_layers
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)
        self.length = 0

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for pair in self.held if pair is not None for tensor in pair)

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        old = self.held[layer]
        pair = (k, v) if old is None else (torch.cat([old[0], k], dim=2), torch.cat([old[1], v], dim=2))
        self.held[layer] = pair
        return pair

    def key_lengths(self, steps: int) -> Tensor | None:
        return None

    def advance(self, steps: int) -> None:
        self.lengths += steps
        self.length += steps


class Cached:
    """Greedy decoding over a cache; the memory of a preallocated one is touched before the clock starts."""

    def __init__(self, network: Transformer, *, kind: str, batch: int, longest: int, fuse: bool) -> None:
        self.network, self.kind, self.batch = network, kind, batch
        self.bytes = 0
        self.step = self.plain_step
        if kind == "CUDA graph":
            self.step = GraphedStep(network, fuse=fuse)
        elif kind == "compiled":
            self.step = CompiledStep(network)
        makers: dict[str, Callable[..., Cache]] = {
            "contiguous": ContiguousCache,
            "compiled": ContiguousCache,
            "paged": PagedCache,
            "CUDA graph": partial(ContiguousCache, static=True),
        }
        self.cache: Cache | None = None
        if kind in makers:
            self.cache = make_cache(network, makers[kind], slots=batch, max_length=longest)
        self.rows: Rows | None = None

    def plain_step(self, ids: Tensor, rows: Rows | None) -> Tensor:
        return self.network(ids, cache=rows, last_only=True)[:, -1]

    def fresh_rows(self) -> Rows:
        """Empty rows; a captured graph needs the very object that it was captured with."""
        if self.cache is None:
            return Concatenated(len(self.network.blocks), self.batch, self.network.embedding.weight.device)
        if isinstance(self.rows, ContiguousRows):
            self.rows.rewind(self.rows.length)
            return self.rows
        if self.rows is not None:
            for sequence in range(self.batch):
                self.cache.release(sequence)
        self.rows = self.cache.select([self.cache.add() for _ in range(self.batch)])
        return self.rows

    @torch.inference_mode()
    def run(self, prompt: Tensor, lengths: Sequence[int]) -> tuple[list[float], Tensor]:
        rows = self.fresh_rows()
        seconds = []
        start = clock(prompt)
        ids = choose(self.step(prompt, rows))
        texts = [prompt, ids]
        for length in range(prompt.shape[1] + 1, lengths[-1] + 1):
            if length in lengths:
                seconds.append(clock(prompt) - start)
            if length < lengths[-1]:
                ids = choose(self.step(ids, rows))
                texts.append(ids)
        self.bytes = rows.bytes if self.cache is None else self.cache.bytes
        return seconds, torch.cat(texts, dim=1)


class Recomputed:
    """No cache: the whole text through the network for every token, the logits of the last position only.

    A step costs the same whatever the steps before it, so every `every`-th is timed and stands for its neighbours. The
    texts are given, and the tokens that it would have chosen are put in at the places that were timed.
    """

    bytes = 0

    def __init__(self, network: Transformer, *, texts: Tensor, every: int) -> None:
        self.network, self.texts, self.every = network, texts, every

    @torch.inference_mode()
    def run(self, prompt: Tensor, lengths: Sequence[int]) -> tuple[list[float], Tensor]:
        first, found = prompt.shape[1], self.texts.clone()
        places = range(first + self.every // 2, lengths[-1], self.every)
        timed = []
        for place in places:
            start = clock(prompt)
            ids = choose(self.network(self.texts[:, :place], last_only=True)[:, -1])
            timed.append(clock(prompt) - start)
            found[:, place] = ids[:, 0]
        seconds = []
        for length in lengths:
            below = [time for place, time in zip(places, timed, strict=True) if place < length]
            seconds.append(sum(below) / len(below) * (length - first))
        return seconds, found


def choose(logits: Tensor) -> Tensor:
    """logits (B, V) -> the most probable tokens (B, 1); max takes a CPU a third of the time of argmax."""
    return logits.max(dim=-1, keepdim=True).indices


def clock(tensor: Tensor) -> float:
    """Seconds, once all work on the tensor's device is done."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
    return time.perf_counter()


def copy_bandwidth(device: torch.device, *, megabytes: int = 256, times: int = 10) -> float:
    """Bytes per second that copying a large tensor reads and writes, the best of some tries."""
    source = torch.ones(megabytes * 2**20 // 4, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(times):
        start = clock(source)
        target.copy_(source)
        seconds.append(clock(source) - start)
    return 2 * source.nbytes / min(seconds)
