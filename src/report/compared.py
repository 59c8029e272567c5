"""What is compared: runs with their letters, and the configs that they share when only their seeds differ."""

import string
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.report.scale import short_names
from src.run.index import RunRecord, read_run
from src.run.metrics import Row, read_rows
from src.run.secrets import redact
from src.run.waiting import in_threads
from src.runs.difference import settings
from src.runs.score import Score, score_of
from src.runs.values import MISSING, show

SEED = "seed"
_FEW_KEYS = 3  # differing keys that are short enough to name a run


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run. letter: its name on the page; settings: its config by dotted key, without the run's own folder."""

    place: int
    letter: str
    record: RunRecord
    settings: dict[str, Any]
    rows: Sequence[Row]
    score: Score | None
    missing: str = ""  # a sentence, where the config could not be read

    @property
    def config(self) -> dict[str, Any]:
        """The settings without the seed."""
        return {key: value for key, value in self.settings.items() if key != SEED}


@dataclass(kw_only=True)
class Config:
    """Runs that differ in nothing but their seed."""

    runs: list[Run] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The letters of its runs."""
        return "+".join(run.letter for run in self.runs)

    @property
    def scores(self) -> list[float]:
        """Of those that have one, in the order of the runs."""
        return [run.score.value for run in self.runs if run.score is not None]


def read_compared(folders: Sequence[Path]) -> list[Run]:
    """The runs in the order given; files that are missing or damaged leave their part empty."""
    records = in_threads(read_run, folders)
    rows = in_threads(lambda record: read_rows(record.path / "metrics.csv"), records)
    runs = [_run(place, record, found) for place, (record, found) in enumerate(zip(records, rows, strict=True))]
    copies = _copies_of_the_seed(runs)
    return [replace(run, settings={k: v for k, v in run.settings.items() if k not in copies}) for run in runs]


def _copies_of_the_seed(runs: Sequence[Run]) -> set[str]:
    """Keys that say the seed again in every run that has them, as `data.seed: ${seed}` does."""
    named = {key for run in runs for key in run.settings if key.endswith(f".{SEED}")}
    return {key for key in named if all(value(run, key) in (MISSING, value(run, SEED)) for run in runs)}


def _run(place: int, record: RunRecord, rows: Sequence[Row]) -> Run:
    missing, told, score = "", {}, None
    try:
        told, score = redact(settings(record)), score_of(record)
    except UserError as error:
        missing = str(error)
    letter = string.ascii_uppercase[place] if place < 26 else str(place + 1)
    return Run(place=place, letter=letter, record=record, settings=told, rows=rows, score=score, missing=missing)


def by_config(runs: Sequence[Run]) -> list[Config]:
    """The runs in groups, the groups in the order of their first runs; a run without a config is one of its own."""
    configs: list[Config] = []
    for run in runs:
        same = next((c for c in configs if run.settings and c.runs[0].config == run.config), None)
        if same is None:
            configs.append(same := Config())
        same.runs.append(run)
    return configs


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """Dotted keys with different values, or that not all runs have; the seed comes last."""
    readable = [run for run in runs if run.settings]
    keys = dict.fromkeys(key for run in readable for key in run.settings)
    found = [key for key in keys if any(value(run, key) != value(readable[0], key) for run in readable)]
    return sorted(found, key=lambda key: key == SEED)


def value(run: Run, key: str) -> Any:
    """MISSING if the run has no such key."""
    return run.settings.get(key, MISSING)


def names_of(runs: Sequence[Run]) -> dict[int, str]:
    """What to call each run, by its place: by what it was told differently if that is little, else by model and id."""
    keys = differing_keys(runs)
    told = [key for key in keys if key != SEED]
    short = short_names(keys)
    names = {}
    for run in runs:
        known = [key for key in keys if value(run, key) is not MISSING]
        words = " ".join(f"{short[key]}={show(value(run, key))}" for key in known)
        if len(told) > _FEW_KEYS or not words or len(words) > 60:
            words = f"{run.record.model} {run.record.label.rpartition('_')[2]}"
        names[run.place] = f"{run.letter}  {words}"
    return names
