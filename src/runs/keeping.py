"""Which runs must stay, and why: those at work, the best, those that others began from, those of a living sweep."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from src.errors import UserError
from src.run.index import RunRecord
from src.run.status import RUNNING, SUBMITTED
from src.run.waiting import in_threads
from src.runs.score import Score, score_of
from src.runs.sweeps import INTERRUPTED, is_driven, sweep_state
from src.runs.values import config_value, show
from src.sweep.journal import read_jobs, read_sweep

# Where a config names another run, whole or by a file in it.
_NAMING = ("init_from", "resume", "branch_from", "data.tokenizer")
_DATA = ("data.path", "data.reader._target_")


def kept(records: Sequence[RunRecord], sweeps: dict[Path, str], *, best: int) -> dict[Path, str]:
    """The reason for each run that must stay, by its folder. sweeps: their states; best: how many of each group."""
    reasons: dict[Path, str] = {}
    in_threads(lambda record: record.config_text, records)  # asked for one by one from here on
    for reason, paths in (
        ("named by another run", named(records)),
        (f"among the best {best} of its kind" if best > 1 else "the best of its kind", best_ones(records, best=best)),
        ("its sweep is under way", (run.path for run in records if run.sweep and sweeps[run.sweep] == RUNNING)),
        ("at work", (record.path for record in records if record.state in (RUNNING, SUBMITTED))),
    ):
        reasons |= dict.fromkeys(paths, reason)
    return reasons


def best_ones(records: Sequence[RunRecord], *, best: int) -> Iterator[Path]:
    """The best by their own monitor of each (model, data), and of each sweep; the earliest of equals."""
    groups: dict[tuple[str, ...], list[tuple[Score, RunRecord]]] = defaultdict(list)
    for record in records:
        score = score_of(record)
        if score is None:
            continue
        data = [show(config_value(record, key)) for key in _DATA]
        measure = (score.monitor, score.mode)
        groups[("data", record.model, *data, *measure)].append((score, record))
        if record.sweep is not None:
            groups[("sweep", str(record.sweep), *measure)].append((score, record))
    for group in groups.values():
        ordered = sorted(group, key=lambda pair: (pair[0].key, pair[1].started, pair[1].label))
        yield from (record.path for _, record in ordered[:best])


def named(records: Sequence[RunRecord]) -> Iterator[Path]:
    """Runs that the config or result of another one names, however: by folder, name, id, or a file in the folder."""
    by_name: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        for name in {record.label, record.name} if record.sweep is None else {record.label}:
            by_name[name].append(record)
    for text, naming in _references(records):
        parts = text.strip("/").split("/")
        names = [*parts, *(f"{a}/{b}" for a, b in pairwise(parts))]
        found = [record for name in names for record in by_name.get(name, ())]
        if not found and len(parts) <= 2:  # an id, or the beginning of a name
            found = [run for run in records if run.label.endswith(text) or run.label.startswith(text)]
        yield from (record.path for record in found if naming - {record.path})


def _references(records: Sequence[RunRecord]) -> Iterator[tuple[str, set[Path]]]:
    """What is named, with the folders of the runs that name it."""
    naming: dict[str, set[Path]] = defaultdict(set)
    for record in records:
        values = [config_value(record, key) for key in _NAMING]
        for value in [*values, record.result.get("init_from")]:
            if isinstance(value, str) and value:
                naming[value.rpartition("@")[0] or value].add(record.path)
    for word in ("never", "auto", "must", "words", "bpe"):  # what those keys hold besides names
        naming.pop(word, None)
    yield from naming.items()


def sweep_states(records: Sequence[RunRecord]) -> dict[Path, str]:
    """How the sweeps of the runs stand; one with a job at work is running, whatever became of its driver."""
    at_work = {record.sweep for record in records if record.state in (RUNNING, SUBMITTED)}
    sweeps = {record.sweep for record in records} - {None}
    return {sweep: RUNNING if sweep in at_work else _state(sweep) for sweep in sweeps if sweep is not None}


def _state(sweep: Path) -> str:
    try:
        return sweep_state(sweep, facts=read_sweep(sweep), jobs=read_jobs(sweep))
    except (UserError, OSError, KeyError, TypeError):
        return RUNNING if is_driven(sweep) else INTERRUPTED
