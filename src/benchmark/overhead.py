"""What a run costs beside its training: our launch, checkpoints and callbacks, over Lightning's bare Trainer."""

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated, Any, NamedTuple

import lightning

from src.benchmark.lstm_rows import percent_over
from src.errors import UserError

BARE, OURS = "bare Trainer", "src.train"


class Fit(NamedTuple):
    """One run: optimizer steps, and seconds from its first batch to the end, validations and checkpoints included.

    processor: seconds of all threads; other programs on the machine hardly change them, nor does waiting for a disk.
    """

    steps: int
    seconds: float
    processor: float


Contenders = dict[str, Callable[[], Fit]]  # of these two names; each call trains anew from the same weights


class Watch(lightning.Callback):
    """Starts with the first batch: what is set up before costs once per run."""

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == trainer.current_epoch == 0:
            self.started, self.used = time.perf_counter(), time.process_time()

    def read(self, trainer: lightning.Trainer) -> Fit:
        """Call it when the fit has returned."""
        seconds, processor = time.perf_counter() - self.started, time.process_time() - self.used
        return Fit(trainer.global_step, seconds, processor)


def compare(
    *,
    contenders: Callable[[list[str]], AbstractContextManager[Contenders]],
    overrides: list[str],
    rounds: Annotated[int, ">= 1"],
) -> list[dict[str, Any]]:
    """A row per contender: milliseconds per optimizer step, best and median round, and percent over the bare Trainer.

    Both train once per round, in turn first, on the same data, from the same weights; the first round is a warm-up.

    Raises:
        UserError: one of them made more steps.
    """
    timings: dict[str, list[Fit]] = {BARE: [], OURS: []}
    with contenders(overrides) as fits:
        for number in range(rounds + 1):
            names = [BARE, OURS] if number % 2 else [OURS, BARE]
            for name in names:
                timings[name].append(fits[name]())
            if timings[BARE][-1].steps != timings[OURS][-1].steps:
                raise UserError("A callback ended training early; set trainer.max_epochs lower in suite.overrides.")
            print(f"{f'round {number} of {rounds}' if number else 'warm-up'} done", flush=True)
    return make_rows({name: found[1:] for name, found in timings.items()})


def make_rows(timings: dict[str, list[Fit]]) -> list[dict[str, Any]]:
    """The best rounds are compared, since noise only ever adds time, and neighbouring ones, see percent_over."""
    rows = []
    for name, fits in timings.items():
        steps, walls, used = fits[0].steps, *zip(*((fit.seconds, fit.processor) for fit in fits), strict=True)
        row = {"trained by": name, "steps": steps, "ms/step": 1000 * min(walls) / steps}
        row |= {"median": 1000 * statistics.median(walls) / steps, "processor ms/step": 1000 * min(used) / steps}
        if name != BARE:
            bare = timings[BARE]
            row["over bare %"] = 100 * (min(walls) / min(fit.seconds for fit in bare) - 1)
            pairs = [[{"fit": fit.seconds} for fit in rounds] for rounds in (fits, bare)]
            row["median over bare %"] = percent_over(*pairs)
            row["processor over bare %"] = 100 * (min(used) / min(fit.processor for fit in bare) - 1)
        rows.append(row)
    return rows
