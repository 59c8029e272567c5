"""The chapter's BiLSTM trained by the plain loop, by our parts in a bare loop and by Lightning, on the same reviews."""

import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch

from src.benchmark.our_loops import BareLoop, LightningLoop
from src.benchmark.plain_loop import PHASES
from src.benchmark.plain_process import PlainProcess
from src.data.module import Reviews
from src.data.sampler import BatchOrder, Draw
from src.data.views import LabelledView
from src.launch.hardware import probe
from src.model.bilstm import BiLSTM

PLAIN, BARE, LIGHTNING = "plain loop", "bare loop, our parts", "Lightning, our parts"
Views = dict[str, LabelledView]


class Contender(NamedTuple):
    """One loop in one precision; `work` is what its `train` takes (rows or batches), of the same reviews for all."""

    name: str
    precision: str
    loop: PlainProcess | BareLoop | LightningLoop
    work: Any


def compare(
    *,
    data: Reviews,
    max_lengths: list[int],
    rounds: Annotated[int, ">= 1"],
    batches: Annotated[int, ">= 1"],
    epochs: Annotated[int, ">= 0"],
    width: Annotated[int, ">= 1"],
    hidden: Annotated[int, ">= 1"],
    same_environment: bool,
) -> list[dict[str, Any]]:
    """A row per length, loop and precision: speed, ratio to the plain loop, step by phase, loss; see conf/suite/lstm.

    Every loop trains once per round over the same reviews, one loop after the other, so that a machine that gets
    slower or faster does so for all.
    """
    data.prepare_data()
    data.setup()
    if not probe("cpu").bf16:
        print("This processor has no bf16 units, so float32 alone is compared.")
    sizes = {"vocab_size": data.vocab_size, "width": width, "hidden": hidden}
    rows = []
    for max_length in max_lengths:
        views = {name: cut(view, max_length) for name, view in data.views.items()}
        draws = representative(data, views["train"], batches)
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            contenders = make_contenders(data, views, draws, sizes, Path(folder), stack, same_environment)
            timings = measure(contenders, rounds=rounds, title=f"{max_length} words")
            losses = final_losses(contenders, data, views["train"], epochs) if epochs else {}
        count = sum(len(draw.indices) for draw in draws)
        rows += make_rows(contenders, timings, losses, max_length=max_length, reviews=count, num_batches=len(draws))
    return rows


def cut(view: LabelledView, max_length: int) -> LabelledView:
    """The same reviews cut to `max_length` words, batches padded to their longest only."""
    return replace(view, encoder=replace(view.encoder, max_length=max_length, pad_to_max_length=False))


def order_of(data: Reviews, view: LabelledView) -> BatchOrder:
    """The training order of the data module over this view."""
    return BatchOrder(view.lengths, batch_size=data.batch_size, bucket_batches=data.bucket_batches, seed=data.seed)


def epoch_draws(data: Reviews, view: LabelledView, epoch: int) -> list[Draw]:
    """All batches of an epoch."""
    return [Draw(indices, 1.0) for indices in order_of(data, view).batches(epoch)]


def representative(data: Reviews, view: LabelledView, batches: int) -> list[Draw]:
    """Full batches of an epoch evenly spread from the shortest to the longest, in random order."""
    full = [draw for draw in epoch_draws(data, view, 0) if len(draw.indices) == data.batch_size]
    full.sort(key=lambda draw: view.lengths[draw.indices].max())
    # The middle of each of `batches` equal stretches, so that the mean length is the epoch's.
    places = (np.arange(min(batches, len(full))) + 0.5) * len(full) / min(batches, len(full))
    shuffled = np.random.default_rng(data.seed).permutation(places.astype(int))
    return [full[place] for place in shuffled]
