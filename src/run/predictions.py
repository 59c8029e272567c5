"""The predictions of a split as arrays: `rows` (N,), `labels` (N,), `probabilities` (N, C) float32."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.run.files import replacing


@dataclass(frozen=True)
class Predictions:
    """rows: row numbers in the source split (N,); labels (N,); probabilities (N, C), each row sums to 1."""

    rows: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


def write_predictions(path: Path, *, rows: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> None:
    """Replace `path`; raises ValueError if the arrays do not belong together."""
    check_shapes(rows=rows, labels=labels, probabilities=probabilities)
    with replacing(path) as file:
        np.savez_compressed(
            file, rows=rows.astype(np.int64), labels=labels.astype(np.int64), probabilities=probabilities.astype("f4")
        )


def check_shapes(*, rows: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> None:
    """Raises ValueError with the shapes unless they are (N,), (N,), (N, C)."""
    if not (
        rows.ndim == labels.ndim == 1 and probabilities.ndim == 2 and len(rows) == len(labels) == len(probabilities)
    ):
        raise ValueError(
            f"rows {rows.shape}, labels {labels.shape} and probabilities {probabilities.shape} "
            "must be (N,), (N,) and (N, C)"
        )


def read_predictions(path: Path) -> Predictions | None:
    """The arrays in `path`; None if there is no such file. Raises ValueError if it is damaged. Nothing is unpickled."""
    if not path.exists():
        return None
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = Predictions(rows=arrays["rows"], labels=arrays["labels"], probabilities=arrays["probabilities"])
    except Exception as error:  # zipfile, zlib, numpy and the operating system each have their own
        raise ValueError(f"{path.name} cannot be read ({type(error).__name__}: {error})") from error
    check_shapes(rows=found.rows, labels=found.labels, probabilities=found.probabilities)
    return found
