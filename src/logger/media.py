"""The tables that W&B shows of a finished run, made from the files of its folder."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.evaluation.confusion import confusion_counts
from src.evaluation.curves import Curve, precision_recall_curve, roc_curve
from src.run.predictions import read_predictions

POINTS = 200  # of a curve: more cannot be told apart on a screen
_HEAD = re.compile(r"^== step (\d+)\n", re.MULTILINE)


class Table(NamedTuple):
    """file: that of the run folder from which it was made."""

    file: str
    columns: list[str]
    rows: list[list[Any]]


def tables_of(run: Path) -> dict[str, Table]:
    """Name to table: confusion matrix and curves of each split that was predicted, the texts of a language model."""
    tables: dict[str, Table] = {}
    for split in ("val", "test"):
        tables |= _of_predictions(run, split)
    samples = run / "samples.txt"
    if samples.exists():
        parts = _HEAD.split(samples.read_text(encoding="utf-8", errors="replace"))[1:]
        rows = [[int(step), text.strip("\n")] for step, text in zip(parts[::2], parts[1::2], strict=True)]
        tables["samples"] = Table(samples.name, ["step", "text"], rows)
    return tables


def _of_predictions(run: Path, split: str) -> dict[str, Table]:
    file = f"predictions_{split}.npz"
    found = read_predictions(run / file)
    if found is None or not len(found.labels):
        return {}
    classes = found.probabilities.shape[1]
    counts = confusion_counts(found.labels, found.probabilities.argmax(1), num_classes=classes)
    cells = [[i, j, int(counts[i, j])] for i in range(classes) for j in range(classes)]
    tables = {f"{split}/confusion_matrix": Table(file, ["label", "prediction", "examples"], cells)}
    if classes == 2 and len(np.unique(found.labels)) == 2:
        of = found.labels, found.probabilities[:, 1]
        recall, roc = precision_recall_curve(*of), roc_curve(*of)
        tables[f"{split}/precision_recall"] = Table(file, ["recall", "precision"], _points(recall))
        tables[f"{split}/roc"] = Table(file, ["false_positive_rate", "true_positive_rate"], _points(roc))
    return tables


def _points(curve: Curve) -> list[list[float]]:
    """At most POINTS of it, evenly along its line, the first and the last among them."""
    rows = np.unique(np.linspace(0, len(curve.x) - 1, min(POINTS, len(curve.x))).round().astype(int))
    return [[float(curve.x[row]), float(curve.y[row])] for row in rows]
