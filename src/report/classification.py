"""Confusion matrices, decision threshold, ROC, precision-recall and calibration, from the saved predictions."""

from collections.abc import Sequence

import numpy as np

from src.evaluation.confusion import confusion_counts, metrics_of
from src.evaluation.curves import (
    Curve,
    average_precision,
    calibration,
    precision_recall_curve,
    roc_auc,
    roc_curve,
)
from src.evaluation.thresholds import best_threshold
from src.report.chart import Line, line_chart
from src.report.markup import grid, paragraph, section, table
from src.report.read import RunFiles
from src.run.predictions import Predictions

_MOST_POINTS = 300  # of a drawn curve; areas are computed from all
_MOST_CLASSES = 20  # of a printed matrix


def classification_section(files: RunFiles) -> str:
    """All that two arrays per split can tell; what is undefined (one class only) is said in a sentence."""
    if not files.predictions:
        return ""
    matrices = [_matrix(files, split, found) for split, found in files.predictions.items()]
    parts = [grid(*matrices)]
    if all(found.probabilities.shape[1] == 2 for found in files.predictions.values()):
        parts += [_thresholds(files.predictions), *_curves(files.predictions)]
    else:
        parts.append(paragraph("Threshold and curves exist for two classes only."))
    return section("Predictions", *parts)


def label_names(files: RunFiles, num_classes: int) -> list[str]:
    """The names in the configuration, or the numbers of the classes."""
    data = files.config.get("data")
    names = data.get("label_names") if isinstance(data, dict) else None
    if isinstance(names, list) and len(names) == num_classes:
        return [str(name) for name in names]
    return [str(number) for number in range(num_classes)]


def _matrix(files: RunFiles, split: str, found: Predictions) -> str:
    num_classes = found.probabilities.shape[1]
    if num_classes > _MOST_CLASSES:
        return paragraph(f"{split}: a matrix of {num_classes} classes is not printed.")
    try:
        counts = confusion_counts(found.labels, found.probabilities.argmax(axis=1), num_classes=num_classes)
    except ValueError as error:
        return paragraph(f"{split}: {error}.", kind="missing")
    names = label_names(files, num_classes)
    rows = [(f"is {name}", *map(int, line)) for name, line in zip(names, counts, strict=True)]
    return table(["", *(f"predicted {name}" for name in names)], rows, caption=f"Confusion matrix, {split}")


def _thresholds(predictions: dict[str, Predictions]) -> str:
    """Metrics at 0.5, and at the threshold with the best F1 on validation, which test only applies."""
    if "val" not in predictions:
        return ""
    try:
        chosen, _ = best_threshold(predictions["val"].labels, predictions["val"].probabilities[:, 1])
    except ValueError as error:
        return paragraph(f"No threshold was chosen: {error}.", kind="missing")
    rows = []
    for threshold, note in ((0.5, "0.5"), (chosen, f"{chosen:.4f}, best F1 on val")):
        for split, found in predictions.items():
            predicted = (found.probabilities[:, 1] >= threshold).astype(int)
            metrics = metrics_of(confusion_counts(found.labels, predicted, num_classes=2))
            rows.append((f"{split}, threshold {note}", *metrics.values()))
    return table(
        ["", "accuracy", "precision", "recall", "F1"], rows, caption="Thresholds are chosen on validation only"
    )


def _curves(predictions: dict[str, Predictions]) -> list[str]:
    roc, recall, reliability, notes = [], [], [], []
    for split, found in predictions.items():
        labels, probabilities = found.labels, found.probabilities[:, 1]
        try:
            area, precision = roc_auc(labels, probabilities), average_precision(labels, probabilities)
            roc.append(_line(f"{split}, area {area:.4f}", roc_curve(labels, probabilities)))
            recall.append(
                _line(f"{split}, average precision {precision:.4f}", precision_recall_curve(labels, probabilities))
            )
            bins = calibration(labels, probabilities)
            name = f"{split}, expected error {bins.expected_error:.4f}"
            reliability.append(Line(name, bins.mean_probability.tolist(), bins.fraction_positive.tolist()))
        except ValueError as error:
            notes.append(paragraph(f"{split}: no curves, because {error}.", kind="missing"))
    return [grid(*_charts(roc, recall, reliability)), *notes]


def _charts(roc: Sequence[Line], recall: Sequence[Line], reliability: Sequence[Line]) -> list[str]:
    return [
        line_chart(roc, title="ROC", x_name="false positive rate", y_name="recall", reference=(0, 1), unit=True),
        line_chart(recall, title="Precision and recall", x_name="recall", y_name="precision", unit=True),
        line_chart(
            reliability,
            title="Calibration, ten bins",
            x_name="mean probability",
            y_name="fraction positive",
            reference=(0, 1),
            unit=True,
        ),
    ]


def _line(name: str, curve: Curve) -> Line:
    kept = np.unique(np.linspace(0, len(curve.x) - 1, _MOST_POINTS).round().astype(int))
    return Line(name, curve.x[kept].tolist(), curve.y[kept].tolist())
