"""Measures a trained task: val as often as wanted, test once and with a threshold chosen on val.

Every rank measures, and comes to the same numbers; the first writes them down.
"""

from collections.abc import Callable
from typing import Any

import lightning
import numpy as np

from src.evaluation.confusion import confusion_counts, metrics_of
from src.evaluation.thresholds import best_threshold
from src.launch.build import Data, Task
from src.launch.rank import current_rank
from src.run.folder import RunFolder
from src.run.ledger import allow, record_test
from src.run.manifest import find_best
from src.run.predictions import write_predictions
from src.task.evaluation import evaluate_split

MakeTrainer = Callable[..., lightning.Trainer]


def measure_val(run: RunFolder, task: Task, data: Data, make_trainer: MakeTrainer) -> dict[str, Any]:
    """val metrics; of a classifier also predictions_val.npz, and with two classes the threshold of the best F1."""
    evaluation = evaluate_split(task, data, split="val", make_trainer=make_trainer)
    result: dict[str, Any] = dict(evaluation.metrics)
    if not evaluation.predictions:
        return result
    if current_rank().first:
        write_predictions(run.predictions_val, **evaluation.predictions)
    if set(evaluation.predictions["labels"].tolist()) == {0, 1}:
        result["threshold"] = choose_threshold(evaluation.predictions)
        result |= at_threshold("val", evaluation.predictions, result["threshold"])
    return result


def measure_test(
    run: RunFolder,
    task: Task,
    data: Data,
    make_trainer: MakeTrainer,
    *,
    threshold: float | None,
    again: bool,
    arguments: list[str],
) -> dict[str, Any]:
    """test metrics at 0.5 and at `threshold`; writes predictions_test.npz, if it is a classifier, and the ledger.

    Raises:
        UserError: the ledger already holds a test evaluation and `again` is false.
    """
    allow(run.path, again)
    evaluation = evaluate_split(task, data, split="test", make_trainer=make_trainer)
    result: dict[str, Any] = dict(evaluation.metrics)
    if threshold is not None:
        result |= at_threshold("test", evaluation.predictions, threshold)
    if not current_rank().first:
        return result
    best = find_best(run.checkpoints)
    sha256 = None if best is None else best.identity
    if evaluation.predictions:  # before the entry, which says that all of it was done
        write_predictions(run.predictions_test, **evaluation.predictions)
    entry = record_test(run.path, arguments=arguments, checkpoint_sha256=sha256, split="test", metrics=result)
    return result | {"test/again": entry["again"]}


def choose_threshold(predictions: dict[str, np.ndarray]) -> float:
    """The probability of class 1 from which on it is predicted, by the best F1."""
    return best_threshold(predictions["labels"], predictions["probabilities"][:, 1])[0]


def at_threshold(split: str, predictions: dict[str, np.ndarray], threshold: float) -> dict[str, float]:
    """Accuracy, precision, recall and F1 of a split when class 1 is predicted from `threshold` on."""
    predicted = predictions["probabilities"][:, 1] >= threshold
    counts = confusion_counts(predictions["labels"], predicted, num_classes=2)
    return {f"{split}_at_threshold/{name}": value for name, value in metrics_of(counts).items()}
