"""The chapter's BiLSTM trained by the plain loop, by our parts in a bare loop and by Lightning, on the same reviews."""

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch

from src.benchmark.lstm_data import Views, cut, epoch_draws, representative, write_reviews
from src.benchmark.lstm_rows import Key, Rounds, make_rows, percent_over
from src.benchmark.our_loops import BareLoop, LightningLoop
from src.benchmark.plain_process import PlainProcess
from src.data.module import Reviews
from src.data.sampler import Draw
from src.model.bilstm import BiLSTM
from src.run.hardware import describe_processor

PLAIN, BARE, LIGHTNING = "plain", "bare", "lightning"


class Contender(NamedTuple):
    """A loop, and what its `train` takes: numbers of reviews, or batches of the same reviews."""

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

    Every loop trains once per round over the same reviews, one loop after the other, so that a machine that turns
    slower or faster does so for all.
    """
    data.prepare_data()
    data.setup()
    precisions = ["fp32", "bf16"] if describe_processor()["bf16_units"] else ["fp32"]
    if precisions == ["fp32"]:
        print("This processor has no bf16 units: the figures are for float32 alone.")
    sizes = {"vocab_size": data.vocab_size, "width": width, "hidden": hidden}
    plain = {"same_environment": same_environment, "seed": data.seed, "sizes": sizes, "batch_size": data.batch_size}
    rows = []
    for max_length in max_lengths:
        views = cut(data.views, max_length)
        draws = representative(data, views["train"], batches)
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            contenders = make_contenders(views, draws, precisions, folder=Path(folder), plain=plain, stack=stack)
            timings = measure(contenders, rounds=rounds, title=f"{max_length} words")
            overhead = measure_overhead(contenders, precisions[-1], rounds=rounds, title=f"{max_length} words")
            whole = [epoch_draws(data, views["train"], epoch) for epoch in range(epochs)]
            losses = final_losses(contenders, precisions[-1], whole) if epochs else {}
        counts = {"max_length": max_length, "reviews": batches * data.batch_size, "batches": batches}
        rows += make_rows(timings, losses, **counts, plain=PLAIN, overhead=overhead)
    return rows


def make_contenders(
    views: Views, draws: list[Draw], precisions: list[str], *, folder: Path, plain: dict[str, Any], stack: ExitStack
) -> dict[Key, Contender]:
    """Plain and bare loops in every precision, Lightning in the last one. `stack` ends the plain loops' processes."""
    write_reviews(views, folder / "reviews.npz")
    options = {**plain, "threads": torch.get_num_threads()}
    network = partial(make_network, plain["seed"], **plain["sizes"])
    numbers = [int(number) for draw in draws for number in draw.indices]
    contenders: dict[Key, Contender] = {}
    for precision in precisions:
        bf16 = precision == "bf16"
        process = stack.enter_context(PlainProcess(folder / "reviews.npz", bf16=bf16, **options))
        contenders[PLAIN, precision] = Contender(process, numbers)
        contenders[BARE, precision] = Contender(BareLoop(network, views, bf16=bf16), draws)
    lightning_loop = LightningLoop(network(), views, bf16=bf16, folder=folder)
    return contenders | {(LIGHTNING, precision): Contender(lightning_loop, draws)}


def make_network(seed: int, **sizes: Any) -> BiLSTM:
    """The chapter's network; the seed gives the same first weights as the plain loop's."""
    torch.manual_seed(seed)
    return BiLSTM(**sizes)


def measure(contenders: dict[Key, Contender], *, rounds: int, title: str) -> dict[Key, Rounds]:
    """Seconds per phase of every round; the first round of each is a warm-up and is thrown away."""
    timings: dict[Key, Rounds] = {key: [] for key in contenders}
    keys = list(contenders)
    for number in range(rounds + 1):
        # Everyone goes first in turn: what the one before leaves in the caches is no one's constant burden.
        start = number % len(keys)
        for key in keys[start:] + keys[:start]:
            timings[key].append(contenders[key].loop.train(contenders[key].work))
        print(f"{title}: {f'round {number} of {rounds}' if number else 'warm-up'} done", flush=True)
    return {key: measured[1:] for key, measured in timings.items()}


def measure_overhead(contenders: dict[Key, Contender], precision: str, *, rounds: int, title: str) -> dict[Key, float]:
    """Lightning's percent over the bare loop, from four times the rounds: it is a few milliseconds in a hundred."""
    pair = {key: contenders[key] for key in ((BARE, precision), (LIGHTNING, precision))}
    timings = measure(pair, rounds=4 * rounds, title=f"{title}, Lightning against the bare loop")
    bare, lightning = timings.values()
    return {(LIGHTNING, precision): percent_over(lightning, bare)}


def final_losses(contenders: dict[Key, Contender], precision: str, epochs: list[list[Draw]]) -> dict[Key, float]:
    """Validation loss of the plain and of the bare loop after the same number of whole epochs."""
    plain, bare = contenders[PLAIN, precision].loop, contenders[BARE, precision].loop
    assert isinstance(plain, PlainProcess)
    assert isinstance(bare, BareLoop)
    print(f"training {len(epochs)} whole epochs for the validation loss", flush=True)
    return {(PLAIN, precision): plain.fit(len(epochs)), (BARE, precision): bare.fit(epochs)}
