"""Measures a trained task: val as often as wanted, test once and with a threshold chosen on val.

Every rank measures, and comes to the same numbers; the first writes them down.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal

import lightning
import numpy as np

from src.data.module import Reviews
from src.evaluation.bootstrap import Metric, interval
from src.evaluation.thresholds import Rule, at_threshold, choose_on_val
from src.launch.build import Data, Task
from src.launch.rank import current_rank
from src.run.folder import RunFolder
from src.run.ledger import allow, looking, record_test
from src.run.manifest import find_best
from src.run.mistakes import write_mistakes
from src.run.predictions import write_predictions
from src.task.evaluation import evaluate_split

MakeTrainer = Callable[..., lightning.Trainer]
Split = Literal["val", "test"]


def measure_val(run: RunFolder, task: Task, data: Data, make_trainer: MakeTrainer, *, rule: Rule) -> dict[str, Any]:
    """val metrics; of a classifier also predictions_val.npz, and with two classes the threshold that `rule` chooses."""
    evaluation = evaluate_split(task, data, split="val", make_trainer=make_trainer)
    found = evaluation.predictions
    if not found:
        return dict(evaluation.metrics)
    if current_rank().first:
        keep_predictions(run, "val", found, data)
    chosen = choose_on_val(rule, found["labels"], found["probabilities"])
    return evaluation.metrics | intervals("val", found) | chosen


def measure_test(
    run: RunFolder,
    task: Task,
    data: Data,
    make_trainer: MakeTrainer,
    *,
    rule: Rule,
    threshold: float | None,
    again: bool,
    arguments: list[str],
) -> dict[str, Any]:
    """test metrics at 0.5 and at `threshold`; writes predictions_test.npz, if it is a classifier, and the ledger.

    Raises:
        UserError: the ledger already holds a test evaluation and `again` is false, or another process is at it.
    """
    allow(run.path, again)
    first = current_rank().first
    with looking(run.path, again=again) if first else nullcontext():
        evaluation = evaluate_split(task, data, split="test", make_trainer=make_trainer)
        result, found = dict(evaluation.metrics), evaluation.predictions
        if found:
            result |= intervals("test", found)
        if found and threshold is not None:
            result |= at_threshold("test", rule, found["labels"], found["probabilities"], threshold=threshold)
        if not first:
            return result
        best = find_best(run.checkpoints)
        sha256 = None if best is None else best.identity
        if found:  # before the entry, which says that all of it was done
            keep_predictions(run, "test", found, data)
        entry = record_test(run.path, arguments=arguments, checkpoint_sha256=sha256, split="test", metrics=result)
    return result | {"test/again": entry["again"]}


def keep_predictions(run: RunFolder, split: Split, predictions: dict[str, np.ndarray], data: Data) -> None:
    """Write what the report, `src.runs diff` and another choice of the threshold read."""
    write_predictions(run.predictions_val if split == "val" else run.predictions_test, **predictions)
    if isinstance(data, Reviews):
        write_mistakes(run, split, predictions, data)


def intervals(split: Split, predictions: dict[str, np.ndarray]) -> dict[str, float]:
    """The 95 % intervals of accuracy and F1 over the examples of the split, as acc_low, acc_high and so on."""
    found: dict[str, float] = {}
    metrics: tuple[Metric, ...] = ("acc", "f1")
    for metric in metrics:
        low, high = interval(metric, predictions["labels"], predictions["probabilities"])
        found |= {f"{split}/{metric}_low": low, f"{split}/{metric}_high": high}
    return found
