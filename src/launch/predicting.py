"""Labels for new texts: the story of `python -m src.predict`."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from src.data.encode import load_encoder
from src.errors import UserError
from src.launch.completions import read_prompts
from src.launch.finished import load_task, open_run
from src.run.files import read_json
from src.run.folder import RunFolder
from src.task.classifier import Classifier


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of conf/predict.yaml.

    Raises:
        UserError: a value outside its choices, or two sources of text.
    """

    run: str | None
    text: str | None
    file: str | None
    format: str
    cut: float | str
    batch_size: int

    def __post_init__(self) -> None:
        if self.format not in ("text", "json"):
            raise UserError(f"format ({self.format}) must be text or json.")
        if self.text is not None and self.file is not None:
            raise UserError("text and file are both given; choose one.")
        if self.cut != "val" and not (isinstance(self.cut, int | float) and 0 <= self.cut <= 1):
            raise UserError(f"threshold ({self.cut}) must be a number from 0 to 1, or val.")
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise UserError(f"batch_size ({self.batch_size}) must be a whole number from 1 on.")


def predict(options: Options) -> None:
    """Print one line per text, in order, as the batches come."""
    run, config = open_run(options.run)
    task = load_task(run, config)
    if not isinstance(task, Classifier):
        raise UserError(f"run ({run.path}) is a language model and has no labels; use python -m src.generate run=...")
    data = config["data"]
    classes = len(data["label_names"])
    if classes != 2 and options.cut != 0.5:
        raise UserError(f"threshold ({options.cut}) cuts between two classes and this run has {classes}; leave it out.")
    encode = load_encoder(run.path, data)
    threshold = choose(options.cut, run)
    for texts in batches(read_prompts(options.text, options.file), options.batch_size):
        with torch.inference_mode():
            ids, lengths = encode(texts)
            probabilities = task.network(ids, lengths).softmax(dim=1)
        for text, row in zip(texts, probabilities.tolist(), strict=True):
            print(line(text, row, data["label_names"], threshold, options.format), flush=options.text is not None)


def batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of at most `size` texts, so that a file of any length is read as it is answered."""
    rest = iter(texts)
    while batch := list(islice(rest, size)):
        yield batch


def choose(threshold: float | str, run: RunFolder) -> float:
    """The number meant; val is the one in the run's result.json."""
    if threshold != "val":
        return float(threshold)
    result = read_json(run.result) or {}
    if result.get("threshold") is None:
        reason = result.get("threshold_note", "the run has not been evaluated")
        raise UserError(f"threshold (val) is not in {run.result}: {reason}; give a number.")
    return result["threshold"]


def line(text: str, probabilities: list[float], names: list[str], threshold: float, form: str) -> str:
    """One answer. With two classes the second is predicted from `threshold` on, with more the most probable one."""
    best = (
        int(probabilities[1] >= threshold) if len(names) == 2 else max(range(len(names)), key=probabilities.__getitem__)
    )
    if form == "text":
        return f"{names[best]}\t{probabilities[best]:.4f}\t{text}"
    answer: dict[str, Any] = {"text": text, "label": names[best], "probability": round(probabilities[best], 6)}
    answer["probabilities"] = {name: round(p, 6) for name, p in zip(names, probabilities, strict=True)}
    return json.dumps(answer, ensure_ascii=False)
