"""What two arrays per split can tell: confusion matrices and metrics at any threshold, what errors cost, curves."""

import numpy as np

from src.evaluation.confusion import confusion_counts
from src.report.costs import costs
from src.report.curves import curves
from src.report.markup import METRICS, Markup, escape, grid, paragraph, section, table
from src.report.read import RunFiles, label_names
from src.report.slider import Slider
from src.report.thresholds import AT_THRESHOLD, chosen_threshold, threshold_slider
from src.run.predictions import Predictions

_MOST_CLASSES = 20  # of a printed matrix
_CELLS = {"00": "true negatives", "01": "false positives", "10": "false negatives", "11": "true positives"}


def classification_section(files: RunFiles) -> str:
    """All of it for two classes; for more, the matrices of the most probable class."""
    predictions = {split: found for split, found in files.predictions.items() if len(found.labels)}
    if not predictions:
        return ""
    if any(found.probabilities.shape[1] != 2 for found in predictions.values()):
        matrices = [_matrix(files, split, found) for split, found in predictions.items()]
        return section("Predictions", grid(*matrices), paragraph("A threshold and curves exist for two classes only."))
    for split, found in predictions.items():
        if not np.isin(found.labels, (0, 1)).all() or np.isnan(found.probabilities).any():
            words = f"{split}: labels must be 0 or 1, and probabilities numbers."
            return section("Predictions", paragraph(words, kind="missing"))
    names, chosen = _names(files, 2), chosen_threshold(files)
    slider, counts = threshold_slider(predictions, chosen)
    words = f"Threshold {chosen.threshold:.4f} was {chosen.words}" if chosen.found else chosen.words.capitalize()
    later = "; test only applies it" if chosen.found and "test" in predictions else ""
    return section(
        "Predictions",
        paragraph(f"From the threshold on, a review is called {names[1]}. {words}{later}."),
        slider.drawn(),
        grid(
            *(_moving_matrix(slider, split, names) for split in predictions),
            _metrics(slider, list(predictions)),
            kind="three",
        ),
        costs(files, slider, counts, names),
        curves(predictions, slider),
    )


def _names(files: RunFiles, num_classes: int) -> list[str]:
    """The names in the configuration, or the numbers of the classes."""
    names = label_names(files)
    return names if len(names) == num_classes else [str(number) for number in range(num_classes)]


def _moving_matrix(slider: Slider, split: str, names: list[str]) -> str:
    rows = "".join(
        f'<tr><th scope="row">is {escape(names[actual])}</th>'
        + "".join(
            f"<td>{slider.cell(f'{split}-{actual}{predicted}')}<small>{_CELLS[f'{actual}{predicted}']}</small></td>"
            for predicted in (0, 1)
        )
        + "</tr>"
        for actual in (0, 1)
    )
    heads = "".join(f'<th scope="col">called {escape(name)}</th>' for name in names)
    return (
        f'<div class="wide"><table class="matrix {split}"><caption>Confusion matrix, {split}</caption>'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _metrics(slider: Slider, splits: list[str]) -> str:
    rows = [
        (METRICS.get(metric, metric), *(Markup(slider.cell(f"{split}-{metric}")) for split in splits))
        for metric in AT_THRESHOLD
    ]
    return table(["at this threshold", *splits], rows, kind="numbers")


def _matrix(files: RunFiles, split: str, found: Predictions) -> str:
    num_classes = found.probabilities.shape[1]
    if num_classes > _MOST_CLASSES:
        return paragraph(f"{split}: a matrix of {num_classes} classes is not printed.")
    try:
        counts = confusion_counts(found.labels, found.probabilities.argmax(axis=1), num_classes=num_classes)
    except ValueError as error:
        return paragraph(f"{split}: {error}.", kind="missing")
    names = _names(files, num_classes)
    rows = [(f"is {name}", *map(int, line)) for name, line in zip(names, counts, strict=True)]
    caption = f"Confusion matrix, {split}"
    return table(["", *(f"called {name}" for name in names)], rows, caption=caption, kind="numbers")
