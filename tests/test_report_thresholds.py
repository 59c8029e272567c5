"""The numbers behind the threshold slider, against counting one by one."""

from pathlib import Path

import numpy as np
import pytest

from src.evaluation.thresholds import best_threshold
from src.report.read import read_files
from src.report.thresholds import chosen_threshold, confusion_at, threshold_slider
from src.run.files import write_json
from src.run.predictions import Predictions, write_predictions


def predictions(count: int = 200, *, seed: int = 0, levels: int = 50) -> Predictions:
    """Many equal probabilities, some of them positions of the slider."""
    draw = np.random.default_rng(seed)
    p = (draw.integers(levels + 1, size=count) / levels).astype("f4")
    labels = (draw.random(count) < 0.2 + 0.6 * p).astype(int)
    return Predictions(rows=np.arange(count), labels=labels, probabilities=np.stack([1 - p, p], axis=1))


def test_counts_are_those_of_a_double_loop():
    """At every threshold, positive is p >= t; also where t is one of the probabilities, or above all."""
    found = predictions()
    thresholds = np.array([0.0, 0.005, 0.02, 0.5, 0.98, 0.985, 1.0, 1.5])
    counts = confusion_at(found, thresholds)
    for table, threshold in zip(counts, thresholds, strict=True):
        slow = np.zeros((2, 2), dtype=int)
        for label, p in zip(found.labels, found.probabilities[:, 1], strict=True):
            slow[label, int(p >= np.float32(threshold))] += 1
        np.testing.assert_array_equal(table, slow)


def run(folder: Path, result: dict[str, object] | None = None) -> Path:
    write_json(folder / "status.json", {"state": "finished"})
    if result is not None:
        write_json(folder / "result.json", result)
    found = predictions()
    write_predictions(
        folder / "predictions_val.npz", rows=found.rows, labels=found.labels, probabilities=found.probabilities
    )
    return folder


def test_the_page_decides_where_the_run_decided(tmp_path):
    """The threshold of result.json, whatever its rule, and not the one that this page would choose."""
    files = read_files(run(tmp_path, {"threshold": 0.1234567, "threshold_rule": "precision, wanted 0.9"}))
    chosen = chosen_threshold(files)
    assert (chosen.threshold, chosen.found) == (0.1234567, True)
    slider, _ = threshold_slider(files.predictions, chosen)
    assert slider.words[slider.start] == "0.1235, chosen on val by precision, wanted 0.9"
    assert len(slider.words) == 202


def test_a_run_that_wrote_no_threshold_gets_the_best_f1_of_val(tmp_path):
    """And one that found none is shown at 0.5, with its reason."""
    found = predictions()
    assert chosen_threshold(read_files(run(tmp_path))).threshold == best_threshold(
        found.labels, found.probabilities[:, 1]
    )[0]  # fmt: skip
    note = {"threshold": None, "threshold_note": "none has a precision of 0.99 on val"}
    chosen = chosen_threshold(read_files(run(tmp_path, note)))
    assert (chosen.threshold, chosen.found) == (0.5, False)
    assert "0.99" in chosen.words


@pytest.mark.parametrize("threshold", [0.5, 0.0, 1.0])
def test_a_chosen_threshold_that_is_a_position_is_not_there_twice(tmp_path, threshold):
    """0.5 is one of the 201."""
    files = read_files(run(tmp_path, {"threshold": threshold}))
    slider, counts = threshold_slider(files.predictions, chosen_threshold(files))
    assert len(slider.words) == len(counts["val"]) == 201
    assert slider.words[slider.start].startswith(f"{threshold:.4f}, chosen on val")
