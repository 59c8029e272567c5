"""A small language model trained by this project's recipe and by `transformers`' Trainer, side by side."""

import importlib.util
import statistics
from contextlib import ExitStack
from typing import Annotated, Any, NamedTuple

import torch

from src.benchmark.lm_process import TrainingProcess
from src.errors import UserError
from src.run.hardware import describe_processor


class Contender(NamedTuple):
    """Who trains, and how."""

    ours: bool
    bf16: bool
    compiled: bool


PLAIN = Contender(ours=False, bf16=False, compiled=False)


def compare(
    *,
    vocab_size: Annotated[int, ">= 2"],
    width: Annotated[int, ">= 1"],
    num_layers: Annotated[int, ">= 1"],
    num_heads: Annotated[int, ">= 1"],
    feed_forward_width: Annotated[int, ">= 1"],
    max_length: Annotated[int, ">= 1"],
    batch_size: Annotated[int, ">= 1"],
    rounds: Annotated[int, ">= 1"],
    steps: Annotated[int, ">= 1"],
    compiled: bool,
    same_environment: bool,
) -> list[dict[str, Any]]:
    """A row per contender: tokens per second of the best round and of the median one, and ratios; see conf/suite/lm.

    Both sides train the same Llama on random tokens, each in its own process, one round after the other, so that a
    machine that turns slower or faster does so for all.

    Raises:
        UserError: `transformers` or its `accelerate` is not installed.
    """
    for package in ("transformers", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"suite=lm trains beside {package}, which is not installed; install the extra dev.")
    sizes = {"vocab_size": vocab_size, "width": width, "num_layers": num_layers, "num_heads": num_heads}
    sizes |= {"feed_forward_width": feed_forward_width, "max_length": max_length}
    options: dict[str, Any] = {"sizes": sizes, "batch_size": batch_size, "steps": steps, "seed": 0}
    options |= {"threads": torch.get_num_threads(), "same_environment": same_environment}
    with ExitStack() as stack:
        processes = {}
        for contender in contenders(compiled=compiled):
            ours, bf16, compile = contender
            started = TrainingProcess(ours=ours, bf16=bf16, compile=compile, **options)
            processes[contender] = stack.enter_context(started)
        counts = {contender: process.parameters() for contender, process in processes.items()}
        assert len(set(counts.values())) == 1, f"the models differ in size: {counts}"
        seconds = measure(processes, rounds=rounds)
    return make_rows(seconds, tokens=steps * batch_size * max_length)


def contenders(*, compiled: bool) -> list[Contender]:
    """Both sides in fp32 and, where the hardware has it, bf16; compiled ones last, in the better precision alone."""
    bf16 = torch.cuda.is_available() or bool(describe_processor()["bf16_units"])
    if not bf16:
        print("This processor has no bf16 units: the figures are for float32 alone.")
    found = [Contender(ours, half, False) for half in ([False, True] if bf16 else [False]) for ours in (False, True)]
    return found + ([Contender(ours, bf16, True) for ours in (False, True)] if compiled else [])


def measure(processes: dict[Contender, TrainingProcess], *, rounds: int) -> dict[Contender, list[float]]:
    """Seconds of every round; the first round of each is a warm-up, in which compilers compile, and is thrown away."""
    seconds: dict[Contender, list[float]] = {contender: [] for contender in processes}
    order = list(processes)
    for number in range(rounds + 1):
        # Everyone goes first in turn: what the one before leaves in the caches is no one's constant burden.
        start = number % len(order)
        for contender in order[start:] + order[:start]:
            seconds[contender].append(processes[contender].train())
        print(f"round {number} of {rounds}" if number else "warm-up done", flush=True)
    return {contender: measured[1:] for contender, measured in seconds.items()}


def make_rows(seconds: dict[Contender, list[float]], *, tokens: int) -> list[dict[str, Any]]:
    """`tokens` in each round. Ratios are of best rounds, because noise only ever adds time."""
    best = {contender: min(measured) for contender, measured in seconds.items()}
    rival = min(time for contender, time in best.items() if not contender.ours)
    return [
        {
            "recipe": "this project" if contender.ours else "transformers Trainer",
            "precision": "bf16" if contender.bf16 else "fp32",
            "compiled": contender.compiled,
            "tokens/s": tokens / best[contender],
            "median": tokens / statistics.median(measured),
            "x transformers fp32": best[PLAIN] / best[contender],
            "x transformers at its best": rival / best[contender],
        }
        for contender, measured in seconds.items()
    ]
