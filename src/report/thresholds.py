"""The numbers behind the threshold slider: counts and metrics of each split at 0.000, 0.005, ..., 1.000 and where the
run decides."""

from dataclasses import dataclass

import numpy as np

from src.evaluation.confusion import metrics_of
from src.evaluation.thresholds import best_threshold
from src.report.markup import shown
from src.report.read import RunFiles
from src.report.slider import Place, Slider
from src.run.predictions import Predictions

SLIDER = "threshold"
STEPS = 200
AT_THRESHOLD = ("acc", "precision", "recall", "f1")


@dataclass(frozen=True)
class Chosen:
    """Where the run decides: the threshold and how it was found, or 0.5 and why there is no better one."""

    threshold: float
    words: str
    found: bool


def chosen_threshold(files: RunFiles) -> Chosen:
    """That of result.json, as chosen on val; of a run that wrote none, the one with the best F1 on val."""
    result = files.record.result
    kept = result.get("threshold")
    if isinstance(kept, int | float):
        return Chosen(float(kept), f"chosen on val by {result.get('threshold_rule', 'f1')}", True)
    if "threshold_note" in result:
        return Chosen(0.5, f"no threshold was chosen: {result['threshold_note']}", False)
    if "val" not in files.predictions:
        return Chosen(0.5, "no threshold was chosen: there are no predictions of val", False)
    val = files.predictions["val"]
    try:
        return Chosen(best_threshold(val.labels, val.probabilities[:, 1])[0], "best F1 on val", True)
    except ValueError as error:
        return Chosen(0.5, f"no threshold was chosen: {error}", False)


def confusion_at(found: Predictions, thresholds: np.ndarray) -> np.ndarray:
    """Confusion counts (P, 2, 2), rows the true class, for thresholds (P,): class 1 is predicted where p >= t."""
    counts = np.empty((len(thresholds), 2, 2), dtype=np.int64)
    for label in (0, 1):
        # In the type of the probabilities, as everywhere else: the chosen threshold is one of them.
        ordered = np.sort(found.probabilities[found.labels == label, 1])
        below = np.searchsorted(ordered, thresholds.astype(ordered.dtype), side="left")
        counts[:, label] = np.stack([below, len(ordered) - below], axis=1)
    return counts


def threshold_slider(predictions: dict[str, Predictions], chosen: Chosen) -> tuple[Slider, dict[str, np.ndarray]]:
    """The slider, and the confusion counts (P, 2, 2) of each split at its positions."""
    grid = np.arange(STEPS + 1) / STEPS
    thresholds = np.union1d(grid, [chosen.threshold])
    counts = {split: confusion_at(found, thresholds) for split, found in predictions.items()}
    cells: dict[str, list[str]] = {}
    shares: dict[str, list[float]] = {}
    places: dict[str, list[Place]] = {}
    for split, found in counts.items():
        metrics = [metrics_of(table) for table in found]
        cells |= {f"{split}-{name}": [shown(values[name]) for values in metrics] for name in AT_THRESHOLD}
        for actual in (0, 1):
            total = max(1, int(found[0, actual].sum()))
            for predicted in (0, 1):
                column = found[:, actual, predicted]
                cells[f"{split}-{actual}{predicted}"] = [f"{count:,}" for count in column.tolist()]
                shares[f"{split}-{actual}{predicted}"] = (column / total).tolist()
        negatives = max(1, int(found[0, 0].sum()))
        places[f"{split}-roc"] = [
            (float(table[0, 1] / negatives), values["recall"]) for table, values in zip(found, metrics, strict=True)
        ]
        places[f"{split}-pr"] = [(values["recall"], values["precision"]) for values in metrics]
    start = int(np.searchsorted(thresholds, chosen.threshold))
    stops = {"0.5": int(np.searchsorted(thresholds, 0.5))}
    stops |= {f"chosen, {chosen.threshold:.4f}": start} if chosen.found else {}
    slider = Slider(
        name=SLIDER,
        label="Decision threshold",
        words=[_word(value, chosen) for value in thresholds.tolist()],
        start=start,
        cells=cells,
        shares=shares,
        places=places,
        stops=stops,
    )
    return slider, counts


def _word(threshold: float, chosen: Chosen) -> str:
    if threshold == chosen.threshold and chosen.found:
        return f"{threshold:.4f}, {chosen.words}"
    return f"{threshold:.3f}"
