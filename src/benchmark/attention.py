"""Attention backends by length: time, peak memory, and how both grow with the number of tokens.

    python -m src.benchmark suite=attention

Naive attention keeps every score, O(T²); the others keep their inputs and outputs, O(T).
"""

from contextlib import ExitStack
from typing import Annotated, Any, Literal

import torch

from src.benchmark.attention_plot import write_plot
from src.benchmark.attention_process import ProbeProcess
from src.benchmark.attention_rows import Cell, growth_rows, make_rows
from src.errors import UserError

BACKENDS = ("naive", "sdpa", "flash", "flex", "auto")
PRECISIONS = ("fp32", "bf16", "fp16")


def compare(
    *,
    lengths: list[int],
    backends: list[str],
    precisions: list[str],
    batch_size: Annotated[int, ">= 1"],
    num_heads: Annotated[int, ">= 1"],
    num_kv_heads: Annotated[int, ">= 1"],
    head_width: Annotated[int, ">= 1"],
    rounds: Annotated[int, ">= 1"],
    device: Literal["auto", "cpu", "cuda"],
    folder: str,
) -> list[dict[str, Any]]:
    """A row per precision, backend and length, then a row per backend with the powers of T; see conf/suite/attention.

    Every backend and length has a process of its own, which measures memory before anything else; then the backends of
    one length take turns, so that a machine that turns slower does so for all. The plot goes into `folder`.
    """
    check(lengths, backends, precisions)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = {"batch_size": batch_size, "num_heads": num_heads, "num_kv_heads": num_kv_heads, "head_width": head_width}
    options = {"device": device, "shape": shape, "threads": torch.get_num_threads()}
    cells, told = [], set[str]()
    for precision in precisions:
        for length in sorted(lengths):
            measured = measure(backends, length=length, precision=precision, rounds=rounds, options=options, told=told)
            cells += measured
            print(f"{precision}, {length} tokens: done", flush=True)
    print(write_plot(cells, folder=folder, title=f"Attention on {device}: {describe(shape)}"))
    return make_rows(cells) + growth_rows(cells)


def check(lengths: list[int], backends: list[str], precisions: list[str]) -> None:
    """Raises UserError for what cannot be measured."""
    if not lengths or min(lengths) < 1 or len(set(lengths)) < len(lengths):
        raise UserError(f"suite.lengths ({lengths}) must be different numbers of tokens, each 1 or more.")
    for name, chosen, known in (("backends", backends, BACKENDS), ("precisions", precisions, PRECISIONS)):
        if not chosen or not set(chosen) <= set(known):
            raise UserError(f"suite.{name} ({chosen}) must be some of {', '.join(known)}.")


def describe(shape: dict[str, int]) -> str:
    """The shape in words."""
    return (
        f"batch {shape['batch_size']}, {shape['num_heads']} heads of {shape['head_width']}, "
        f"{shape['num_kv_heads']} of keys and values"
    )


def measure(
    backends: list[str], *, length: int, precision: str, rounds: int, options: dict[str, Any], told: set[str]
) -> list[Cell]:
    """Memory and the best of `rounds` times of every backend that can run; a refusal is told once."""
    cells = []
    with ExitStack() as stack:
        probes = {}
        for backend in backends:
            process = ProbeProcess(backend=backend, length=length, precision=precision, **options)
            probe = stack.enter_context(process)
            if probe.refused and (sentence := f"{backend}, {precision}: {probe.refused}") not in told:
                told.add(sentence)
                print(sentence, flush=True)
            if probe.memory:
                probes[backend] = probe
        # The first round warms up what only the full length needs.
        timings = [{backend: probe.seconds() for backend, probe in probes.items()} for _ in range(rounds + 1)][1:]
        for backend, probe in probes.items():
            best = {name: min(timing[backend][name] for timing in timings) for name in probe.memory}
            cells.append(Cell(backend, precision, length, best, probe.memory))
    return cells
