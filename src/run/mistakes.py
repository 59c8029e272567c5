"""The wrong predictions that a network was most certain of, with their text: mistakes_val.json, mistakes_test.json."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from src.run.files import read_json, write_json
from src.run.folder import RunFolder

MOST = 20
LETTERS = 500  # of each text


class Readable(Protocol):
    """A data module that can show what it has read."""

    def texts(self, split: str, rows: Sequence[int]) -> tuple[list[str], bool]:
        """The texts of rows; False if only the tokens of them are left."""
        ...


def most_confident(*, rows: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """Row, label, predicted class and its probability of the wrong ones, the most probable first.

    rows (N,), labels (N,), probabilities (N, C); the class with the highest probability is predicted.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    sure = probabilities[wrong, predicted[wrong]]
    first = wrong[np.argsort(-sure, kind="stable")[:MOST]]
    return [
        {
            "row": int(rows[i]),
            "label": int(labels[i]),
            "predicted": int(predicted[i]),
            "probability": float(probabilities[i, predicted[i]]),
        }
        for i in first
    ]


def write_mistakes(run: RunFolder, split: str, predictions: dict[str, np.ndarray], data: Readable) -> None:
    """Write the file of a split; the data module gives the texts."""
    found = most_confident(**predictions)
    texts, whole = data.texts(split, [entry["row"] for entry in found])
    for entry, text in zip(found, texts, strict=True):
        entry |= {"text": text[:LETTERS], "cut": len(text) > LETTERS}
    write_json(path_of(run.path, split), {"text_is": "source" if whole else "tokens", "mistakes": found})


def read_mistakes(folder: Path, split: str) -> dict[str, Any]:
    """What `write_mistakes` wrote; empty if there is no such file, or another one."""
    found = read_json(path_of(folder, split)) or {}
    entries = found.get("mistakes")
    return found if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries) else {}


def path_of(folder: Path, split: str) -> Path:
    """The file of a split in a run folder."""
    return folder / f"mistakes_{split}.json"
