"""The value of any key of a run: what it is called and how it stands, its metrics, its configuration."""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import yaml

from src.errors import UserError
from src.run.index import UNREADABLE, RunRecord
from src.run.status import FAILED, FINISHED, KILLED, PREPARED, PRUNED, RUNNING, SUBMITTED
from src.run.yaml_scan import find_keys

STATES = (RUNNING, FINISHED, FAILED, KILLED, PRUNED, PREPARED, SUBMITTED, UNREADABLE)
MISSING: Any = object()
_MONITOR = "monitor"


def describe(record: RunRecord) -> str:
    """What there is to say to the state: how far a run is, why it failed, by what it was killed."""
    status = record.status
    if record.state == RUNNING:
        return progress(record)
    if record.state == KILLED and status.get("state") == RUNNING:
        return "its process is gone"
    return str(status.get("reason") or status.get("signal") or "").partition("\n")[0]


def progress(record: RunRecord) -> str:
    """Epoch and last value of the monitored metric of a run under way; empty before the first row of metrics.csv."""
    values = dict(record.metrics)
    parts = [f"epoch {values['epoch'] + 1:.0f}"] if "epoch" in values else []
    if "step" in values:
        parts.append(f"step {values['step']:.0f}")
    monitor = config_value(record, _MONITOR)
    shown = monitor if monitor in values else "train/loss"
    if shown in values:
        parts.append(f"{shown} {values[shown]:.4f}")
    return ", ".join(parts)


FIELDS: dict[str, Callable[[RunRecord], Any]] = {
    "run": lambda record: record.label,
    "model": lambda record: record.model,
    "state": lambda record: record.state,
    "note": describe,
    "sweep": lambda record: MISSING if record.sweep is None else record.sweep.name,
    "started": lambda record: record.started or MISSING,
    "ended": lambda record: record.status.get("ended", MISSING),
    "exit_code": lambda record: record.status.get("exit_code", MISSING),
    "host": lambda record: record.status.get("host", MISSING),
    "path": lambda record: str(record.path),
}
TIMES = ("started", "ended")


def value_of(record: RunRecord, key: str, *, damaged: Any = MISSING) -> Any:
    """MISSING where the run has no such key; a key of result.json goes before one of the configuration.

    damaged: what to return where the config.yaml to look in is no YAML; one such file must not hide the other runs.
    """
    if key in FIELDS:
        return FIELDS[key](record)
    if key in record.result or "/" in key:
        return record.metrics.get(key, MISSING)
    return config_value(record, key, damaged=damaged)


def config_value(record: RunRecord, key: str, *, damaged: Any = MISSING) -> Any:
    """The same, of the configuration alone."""
    try:
        return record.config_value(key)
    except KeyError:
        return MISSING
    except UserError:
        return damaged


def check_known(records: Sequence[RunRecord], keys: Iterable[str], *, options: Iterable[str] = ()) -> None:
    """Refuse a key that no run has. options: what it may have meant besides.

    Raises:
        UserError: with the nearest keys that there are.
    """
    for key in keys:
        if key in FIELDS or not records or any(value_of(record, key) is not MISSING for record in records):
            continue
        legal = [*options, *all_keys(records)]
        near = get_close_matches(key, legal, n=3) or [name for name in legal if name.split(".")[-1] == key]
        guess = f"; did you mean {' or '.join(near)}?" if near else "."
        raise UserError(
            f"{key} is a key of no run{guess} Keys are {', '.join(FIELDS)}, metrics such as val/loss, and dotted keys "
            "of config.yaml; `show RUN` prints those of one run."
        )


def all_keys(records: Iterable[RunRecord]) -> list[str]:
    """Every key that some run has; this reads all of every config.yaml."""
    keys = set(FIELDS)
    for record in records:
        keys |= record.metrics.keys()
        try:
            keys |= find_keys(record.config_text)
        except yaml.YAMLError:
            continue
    return sorted(keys)


def show(value: Any) -> str:
    """A value as YAML would have it on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(show, value))}]"
    return str(value)


def is_number(value: Any) -> bool:
    """True for numbers that have a size; a boolean has none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
