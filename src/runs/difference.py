"""`diff A B`: what two runs were told differently, what came of it, and whether that is more than chance."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.run.files import read_json
from src.run.folder import RunFolder
from src.run.index import RunRecord, find_run
from src.run.yaml_scan import walk
from src.runs.output import Row, cell, number, print_rows
from src.runs.values import MISSING, is_number, show
from src.runs.words import folder, read_words

# Where a run lies and how it was started differ in any two runs.
_PLACES = ("paths", "resume", "resume_changes", "launcher", "logger.wandb.id")
_UNTOLD = ("git.diff", "git.untracked", "git.note")  # too long for a line; `git.clean` says that there is something
_OWN = "<run folder>"


def diff(typed: Sequence[str]) -> None:
    """Print the differences of two runs."""
    words = read_words(typed, options={"root": folder}, names=["A", "B"])
    root = words.options.get("root", Path("outputs"))
    a, b = (find_run(name, root=root) for name in words.names)
    if a.path.resolve() == b.path.resolve():
        raise UserError(f"{words.names[0]} and {words.names[1]} are the same run, {a.path}. Name two.")
    print(f"A  {a.path}  {a.state}\nB  {b.path}  {b.state}\n")
    told = differing(settings(a), settings(b))
    _print(told, otherwise="Their configs say the same.")
    print()
    _print(measured(a.result, b.result), otherwise="Neither has a result.json.")
    print()
    around = differing(surroundings(a), surroundings(b))
    _print(around, otherwise="Code, versions, machine and data are the same.")
    print(f"\n{verdict(a, b)}")


def _print(rows: list[Row], *, otherwise: str) -> None:
    if not rows:
        print(otherwise)
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    print_rows(columns, rows, form="table")


def settings(record: RunRecord) -> dict[str, Any]:
    """The leaves of its config by dotted key; the run's own folder has one name in all runs."""
    config = record.config
    own = str((config.get("paths") or {}).get("run_dir") or record.path)
    found = {}
    for key, value in walk(config):
        if (not isinstance(value, dict) or not value) and not _below(key, _PLACES):
            found[key] = _OWN + value.removeprefix(own) if isinstance(value, str) and value.startswith(own) else value
    return found


def surroundings(record: RunRecord) -> dict[str, Any]:
    """The leaves of env.json by dotted key."""
    leaves = walk(read_json(record.path / "env.json") or {})
    return {key: value for key, value in leaves if not isinstance(value, dict) and not _below(key, _UNTOLD)}


def _below(key: str, tops: Sequence[str]) -> bool:
    return any(key == top or key.startswith(f"{top}.") for top in tops)


def differing(a: dict[str, Any], b: dict[str, Any]) -> list[Row]:
    """One row per key with different values, in the order of A."""
    rows: list[Row] = []
    for key in dict.fromkeys([*a, *b]):
        values = a.get(key, MISSING), b.get(key, MISSING)
        if values[0] != values[1]:
            shown = ("-" if value is MISSING else short(show(value)) for value in values)
            rows.append({"key": key, **dict(zip("AB", shown, strict=True))})
    return rows


def short(text: str) -> str:
    """The text with twelve letters of each hash in it."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b", r"\1", text)


def measured(a: dict[str, Any], b: dict[str, Any]) -> list[Row]:
    """Metrics of val and test, and every other number that differs, side by side."""
    rows: list[Row] = []
    names = [name for name in dict.fromkeys([*a, *b]) if is_number(a.get(name)) or is_number(b.get(name))]
    for name in sorted(names, key=lambda each: not each.startswith(("val", "test"))):
        if not name.startswith(("val", "test")) and a.get(name) == b.get(name):
            continue
        row: Row = {"result": name, "A": a.get(name, "-"), "B": b.get(name, "-")}
        if is_number(a.get(name)) and is_number(b.get(name)):
            difference = b[name] - a[name]
            row["B - A"] = f"{'+' if difference > 0 else ''}{cell('', difference)}"
        rows.append(row)
    return rows


def verdict(a: RunRecord, b: RunRecord) -> str:
    """Whether the difference in accuracy is real, on the rows that both have predicted; or why that is not known."""
    split = next((split for split in ("test", "val") if all(_path(run, split).exists() for run in (a, b))), None)
    if split is None:
        missing = " and ".join(name for name, run in (("A", a), ("B", b)) if not _path(run, "val").exists())
        which = f"predictions_val.npz of {missing} is missing" if missing else "they have no split in common"
        return f"Whether the difference is real cannot be told: {which}."
    from src.evaluation.paired import compare, differing_data
    from src.run.predictions import read_predictions

    data = [(read_json(run.path / "env.json") or {}).get("data") or {} for run in (a, b)]
    reason = differing_data(*data, split=split)
    if reason is not None:
        return f"Whether the difference on {split} is real cannot be told: {short(reason)}."
    try:
        predicted = [read_predictions(_path(run, split)) for run in (a, b)]
        assert predicted[0] is not None
        assert predicted[1] is not None
        found = compare(predicted[0], predicted[1])
    except ValueError as error:
        return f"Whether the difference on {split} is real cannot be told: {error}."
    interval = f"95 % interval of B - A from {number(found.low)} to {number(found.high)}"
    return (
        f"accuracy on {split}: A {number(found.a_accuracy)}, B {number(found.b_accuracy)}, {interval}\n{found.sentence}"
    )


def _path(record: RunRecord, split: str) -> Path:
    folder = RunFolder(record.path)
    return folder.predictions_test if split == "test" else folder.predictions_val
