"""Precision-recall and ROC curves with the operating point of the threshold slider, and calibration."""

import numpy as np

from src.evaluation.curves import Curve, average_precision, calibration, precision_recall_curve, roc_auc, roc_curve
from src.report.chart import Line, Mover, line_chart
from src.report.markup import grid, paragraph
from src.report.slider import Slider
from src.run.predictions import Predictions

_MOST_POINTS = 200  # of a drawn curve; areas are computed from all


def curves(predictions: dict[str, Predictions], slider: Slider) -> str:
    """Three charts; what is undefined (one class only) is said in a sentence."""
    roc, recall, reliability, notes, said = [], [], [], [], []
    for split, found in predictions.items():
        labels, probabilities = found.labels, found.probabilities[:, 1]
        try:
            area, precision = roc_auc(labels, probabilities), average_precision(labels, probabilities)
            roc.append(_line(f"{split}, area {area:.4f}", roc_curve(labels, probabilities), split))
            curve = precision_recall_curve(labels, probabilities)
            recall.append(_line(f"{split}, average precision {precision:.4f}", curve, split))
            bins = calibration(labels, probabilities)
            name = f"{split}, expected error {bins.expected_error:.4f}"
            reliability.append(Line(name, bins.mean_probability.tolist(), bins.fraction_positive.tolist(), split))
            said.append(_confidence(split, labels, probabilities))
        except ValueError as error:
            notes.append(paragraph(f"{split}: no curves, because {error}.", kind="missing"))
    drawn = grid(
        line_chart(
            recall,
            title="Precision and recall",
            x_name="recall",
            y_name="precision",
            unit=True,
            movers=_movers(slider, "pr", recall),
            note="The dots are the threshold of the slider.",
        ),
        line_chart(
            roc,
            title="ROC",
            x_name="false positive rate",
            y_name="recall",
            reference=(0, 1),
            unit=True,
            movers=_movers(slider, "roc", roc),
            note="The dotted diagonal is guessing.",
        ),
        line_chart(
            reliability,
            title="Calibration, ten bins",
            x_name="mean probability",
            y_name="fraction positive",
            reference=(0, 1),
            unit=True,
            note=" ".join(said),
        ),
        kind="three",
    )
    return "\n".join(part for part in (drawn, *notes) if part)


def _confidence(split: str, labels: np.ndarray, probabilities: np.ndarray) -> str:
    """Whether the network is as sure as it is right, on average."""
    sure = float(np.maximum(probabilities, 1 - probabilities).mean())
    right = float(((probabilities >= 0.5) == labels).mean())
    points = 100 * (sure - right)
    if abs(points) < 0.5:
        return f"On {split} it is about as sure ({sure:.1%}) as it is right ({right:.1%})."
    kind = "over-confident" if points > 0 else "under-confident"
    return f"On {split} it is {sure:.1%} sure on average and right in {right:.1%}: {kind} by {abs(points):.1f} points."


def _movers(slider: Slider, curve: str, lines: list[Line]) -> list[Mover]:
    start = {line.kind: slider.places[f"{line.kind}-{curve}"][slider.start] for line in lines}
    return [Mover(slider.name, f"{kind}-{curve}", place[0], place[-1], kind) for kind, place in start.items()]


def _line(name: str, curve: Curve, split: str) -> Line:
    kept = np.unique(np.linspace(0, len(curve.x) - 1, _MOST_POINTS).round().astype(int))
    return Line(name, curve.x[kept].tolist(), curve.y[kept].tolist(), split)
