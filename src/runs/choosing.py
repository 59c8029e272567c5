"""`best METRIC`: the run with the best value, and the commands to go on with."""

from collections.abc import Sequence
from pathlib import Path

from src.errors import UserError
from src.run.index import read_runs
from src.runs.filters import explain_none, select
from src.runs.output import note, number
from src.runs.score import MAX, MIN, commands, mode_of
from src.runs.values import check_known, is_number
from src.runs.words import folder, one_of, read_words

OPTIONS = {"mode": one_of(MIN, MAX), "root": folder}


def best(typed: Sequence[str]) -> None:
    """Print the best of the runs that fit and have the metric in result.json: there it is that of the best weights."""
    words = read_words(typed, options=OPTIONS, names=["METRIC"], filters=True)
    metric, root = words.names[0], words.options.get("root", Path("outputs"))
    records = read_runs(root)
    found = select(records, words.filters, options=OPTIONS)
    values = [(record.result[metric], record) for record in found if is_number(record.result.get(metric))]
    if not values:
        check_known(records, [metric])
        note(f"No run has {metric} in result.json." if found else explain_none(records, words.filters, root=root))
        return
    mode = words.options.get("mode") or mode_of(metric)
    if mode is None:
        raise UserError(f"{metric} does not say whether less or more is better. Add mode=min or mode=max.")
    choose = min if mode == MIN else max
    value, record = choose(values, key=lambda pair: pair[0])
    lowest = "lowest" if mode == MIN else "highest"
    print(f"{metric} {number(float(value))}, the {lowest} of {len(values):,} runs\n{record.path}  {record.state}")
    for name, other in record.result.items():
        if name.startswith(("val/", "test/")) and isinstance(other, float) and name != metric:
            print(f"  {name:<24}{number(other)}")
    for name, command in commands(record).items():
        print(f"{name:<9} {command}")
    if metric.startswith("test"):
        note("Note: a run that is chosen by its test metric looks better than it is; choose by val/.")
