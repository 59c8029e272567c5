"""Decoding with and without a cache: tokens per second, memory, and the share of the memory bandwidth that is reached.

Each step has to read all weights, and the keys and values of all rows, once. That bandwidth is the limit, so its share
is the fair measure. The weights are random: speed does not depend on what is written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from src.benchmark.decode_contenders import Cached, Contender, Recomputed, copy_bandwidth
from src.benchmark.decode_rows import Facts, Key, example_rows, make_rows
from src.cache.size import bytes_per_token
from src.errors import UserError
from src.model.transformer import Transformer

NONE, CONTIGUOUS, COMPILED, GRAPH = "none", "contiguous", "compiled", "CUDA graph"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Positive = Annotated[int, ">= 1"]


def compare(
    *,
    network: dict[str, Any],
    prompt: Positive,
    lengths: list[int],
    batches: list[int],
    precisions: list[Literal["fp32", "bf16"]],
    rounds: Positive,
    every: Positive,
    threads: Positive | None,
    device: Literal["auto", "cpu", "cuda"],
    fuse: bool,
) -> list[dict[str, Any]]:
    """The known models' bytes per token, then a row per batch, precision and cache; see conf/suite/decode.yaml.

    Raises UserError for lengths that are not ascending or leave too little room behind the prompt.
    """
    if not lengths or lengths != sorted(set(lengths)) or lengths[0] < prompt + every:
        least = prompt + every
        raise UserError(f"suite.lengths ({lengths}) must be ascending, from suite.prompt + suite.every ({least}) on.")
    place = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    with limited_to(threads):
        bandwidth = copy_bandwidth(place)
        used = f"{torch.get_num_threads()} threads" if place.type == "cpu" else torch.cuda.get_device_name(place)
        print(f"{used}: copying 256 MiB reads and writes {bandwidth / 1e9:.1f} GB/s, measured here")
        torch.manual_seed(0)
        first = Transformer(**network, max_length=lengths[-1]).eval()
        networks: dict[str, Transformer] = {name: deepcopy(first).to(place, DTYPES[name]) for name in precisions}
        prompts = {
            batch: torch.randint(len(first.embedding.weight), (batch, prompt), device=place) for batch in batches
        }
        contenders, texts = make_contenders(networks, prompts, lengths, every=every, fuse=fuse)
        timings, found = measure(contenders, prompts, lengths, rounds=rounds)
    facts = {
        key: describe(key, networks[key.precision], contender, prompt, lengths[-1])._replace(
            same=float((found[key] == texts[key.batch, key.precision]).float().mean())
        )
        for key, contender in contenders.items()
    }
    return example_rows() + make_rows(timings, facts, prompt=prompt, lengths=lengths, bandwidth=bandwidth, plain=NONE)


@contextmanager
def limited_to(threads: int | None) -> Iterator[None]:
    """Torch with so many threads meanwhile; None leaves it alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_contenders(
    networks: dict[str, Transformer], prompts: dict[int, Tensor], lengths: list[int], *, every: int, fuse: bool
) -> tuple[dict[Key, Contender], dict[tuple[int, str], Tensor]]:
    """All ways to decode, and for each batch and precision the text that the contiguous cache gives."""
    contenders: dict[Key, Contender] = {}
    texts = {}
    for batch, ids in prompts.items():
        for precision, network in networks.items():
            kinds = [CONTIGUOUS, "paged", "concatenated", *([GRAPH] if ids.is_cuda else [COMPILED] if fuse else [])]
            made = {kind: Cached(network, kind=kind, batch=batch, longest=lengths[-1], fuse=fuse) for kind in kinds}
            _, texts[batch, precision] = made[CONTIGUOUS].run(ids, lengths)
            plain = Recomputed(network, texts=texts[batch, precision], every=every)
            contenders |= {Key(batch, precision, kind): cached for kind, cached in ({NONE: plain} | made).items()}
    return contenders, texts


def measure(
    contenders: dict[Key, Contender], prompts: dict[int, Tensor], lengths: list[int], *, rounds: int
) -> tuple[dict[Key, list[list[float]]], dict[Key, Tensor]]:
    """Seconds to each length in every round, and the last texts. The first round is a warm-up and is thrown away.

    Everyone decodes once per round, one after the other, so that a machine that turns slower does so for all.
    """
    timings: dict[Key, list[list[float]]] = {key: [] for key in contenders}
    found = {}
    for number in range(rounds + 1):
        for key, contender in contenders.items():
            seconds, found[key] = contender.run(prompts[key.batch], lengths)
            timings[key].append(seconds)
        print(f"round {number} of {rounds} done" if number else "warm-up done", flush=True)
    return {key: measured[1:] for key, measured in timings.items()}, found


def describe(key: Key, network: Transformer, contender: Contender, prompt: int, longest: int) -> Facts:
    """What the contender holds, and what one of its steps has to read on average."""
    weight = network.output_weight
    per_token = bytes_per_token(len(network.blocks), network.num_kv_heads, network.head_width, weight.dtype.itemsize)
    # Of an untied embedding a step reads a row per text; a tied one is the head and counts in full.
    weights = sum(parameter.nbytes for parameter in network.parameters())
    if weight is not network.embedding.weight:
        weights -= network.embedding.weight.nbytes
    # A static cache reads all there is room for, the others what is stored, on average half-way.
    stored = longest if key.cache == GRAPH else (prompt + longest) / 2
    return Facts(held=contender.bytes, read=weights + key.batch * stored * per_token, per_token=per_token, same=0.0)
