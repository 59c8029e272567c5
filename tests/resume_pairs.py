"""`python -m tests.resume_pairs [model] [accumulation]`: every run of 2 x 6 batches that is stopped twice, anywhere.

The short version is in tests/test_callbacks_continuation.py. Per model and accumulation 66 runs, 30 s on one core.
"""

import shutil
import sys
import tempfile
import warnings
from pathlib import Path

from tests.test_callbacks_continuation import BATCHES, EPOCHS, MODELS, assert_same, run

SCHEDULE = {"bilstm": "warmup", "language_model": "plateau"}


def all_pairs(model, accumulate, place):
    """Stop after `first` batches and after `second` more, for all that there are; returns how many runs that makes."""
    settings = {"model": model, "schedule": SCHEDULE[model], "accumulate_grad_batches": accumulate}
    record, runs = run(place / "whole", **settings), 0
    for first in range(1, EPOCHS * BATCHES + 1):
        once, seen_once = place / "once", {}
        once.mkdir()
        run(once, stop=first, seen=seen_once, **settings)
        for second in range(1, EPOCHS * BATCHES + 1 - first):
            folder, seen = shutil.copytree(once, place / "twice"), dict(seen_once)
            run(folder, stop=second, seen=seen, **settings)
            run(folder, seen=seen, **settings)
            assert seen == record.seen, (model, accumulate, first, second)
            assert_same(folder, place / "whole")
            shutil.rmtree(folder)
            runs += 1
        shutil.rmtree(once)
    return runs


def main(model=None, accumulate=None):
    warnings.simplefilter("ignore")
    for name in [model] if model else MODELS:
        for number in [int(accumulate)] if accumulate else (1, 2, 3):
            with tempfile.TemporaryDirectory() as place:
                runs = all_pairs(name, number, Path(place))
            print(f"{name}, accumulation {number}: {runs} runs stopped twice, 0 differ", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
