"""The page of several runs: which is best and whether that is chance, metrics, curves, how their configs differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from src.report.compared import Config, Run, by_config, differing_keys, names_of, read_compared, value
from src.report.compared_words import verdict
from src.report.markup import Markup, badge, escape, folded, href, paragraph, section, shown, table
from src.report.overlay import Shown, coloured, legend, overlay
from src.report.page import page
from src.run.files import write_text
from src.runs.difference import short, surroundings
from src.runs.score import MIN, mode_of
from src.runs.values import MISSING, describe, is_number, show

_KINDS = {"finished": "good", "pruned": "warn", "running": "warn"}
_SPLITS = ("val/", "test/")
_BOUNDS = ("_low", "_high")  # of an interval around one run's metric; a mean of them says nothing


def write_comparison(folders: Sequence[Path], path: Path) -> Path:
    """Write the page of the runs in `folders` into the file `path`, whose folder is made, and return that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render(read_compared(folders), place=path.parent))
    return path


def render(runs: Sequence[Run], *, place: Path) -> str:
    """The page as text. place: the folder in which it will be, from which its links lead."""
    configs = by_config(runs)
    title = f"{len(runs)} runs compared"
    about = f"{len(configs)} configs, {len(runs)} runs" if len(configs) < len(runs) else "one run per config"
    sections = [
        section("Summary", *verdict(configs), _runs_table(runs, place)),
        _metrics_section(configs),
        _curves_section(runs, configs),
        _differences_section(runs),
        _surroundings_section(runs),
    ]
    header = f'<header><h1>{escape(title)}</h1><p class="soft">{escape(about)}</p></header>'
    return page(title, sections, header=header)


def _runs_table(runs: Sequence[Run], place: Path) -> str:
    names = names_of(runs)
    rows = []
    for run in runs:
        state = Markup(badge(run.record.state, kind=_KINDS.get(run.record.state, "bad")))
        score = "" if run.score is None else f"{run.score.monitor} {shown(run.score.value)}"
        words = names[run.place].partition("  ")[2]
        rows.append((run.letter, Markup(_link(run, place)), words, state, score, run.missing or describe(run.record)))
    return table(["", "run", "settings", "state", "best", ""], rows)


def _link(run: Run, place: Path) -> str:
    report = run.record.path / "report.html"
    if not report.is_file():
        return escape(run.record.label)
    return f'<a href="{href(report, place)}">{escape(run.record.label)}</a>'


def _metrics_section(configs: Sequence[Config]) -> str:
    results = [run.record.result for config in configs for run in config.runs]
    names = sorted({name for result in results for name, value in result.items() if is_number(value)} - {"seed"})
    measured = [name for name in names if name.startswith(_SPLITS) and not name.endswith(_BOUNDS)]
    others = [name for name in names if name not in measured]
    several = any(len(config.runs) > 1 for config in configs)
    words = "Mean ± standard deviation over the seeds of a config, with n - 1; bold: the best." if several else ""
    runs = [Config(runs=[run]) for config in configs for run in config.runs]
    return section(
        "Metrics",
        _metrics(measured, configs),
        paragraph(words, kind="soft") if words else "",
        folded("Each run", _metrics(measured, runs)) if several else "",
        folded("Time, size, intervals and all others", _metrics(others, configs)),
    )


def _metrics(names: Sequence[str], configs: Sequence[Config]) -> str:
    rows = []
    for name in names:
        values = [_values(config, name) for config in configs]
        means = [float(np.mean(found)) if found else None for found in values]
        known = [mean for mean in means if mean is not None]
        mode = mode_of(name)
        best = None if mode is None or len(set(known)) < 2 else (min if mode == MIN else max)(known)
        cells: list[Any] = []
        for found, mean in zip(values, means, strict=True):
            words = "–" if mean is None else spread(found)  # noqa: RUF001
            cells.append(Markup(f"<b>{words}</b>") if mean is not None and mean == best else Markup(words))
        rows.append((name, *cells))
    return table(["", *(config.name for config in configs)], rows, kind="numbers")


def _values(config: Config, name: str) -> list[float]:
    return [run.record.result[name] for run in config.runs if is_number(run.record.result.get(name))]


def spread(values: Sequence[float]) -> str:
    """`0.8821 ± 0.0042 (3)`, with n - 1; the value itself if there is one."""
    if len(values) == 1:
        return shown(values[0])
    mean, std = float(np.mean(values)), float(np.std(values, ddof=1))
    return f"{shown(mean)} ± {f'{std:.4f}' if 1e-3 <= abs(mean) < 100 else shown(std)} ({len(values)})"


def _curves_section(runs: Sequence[Run], configs: Sequence[Config]) -> str:
    names = names_of(runs)
    looks = {run.place: coloured(place) for place, config in enumerate(configs) for run in config.runs}
    drawn = [Shown(number=r.place, name=names[r.place], look=looks[r.place], rows=r.rows) for r in runs]
    charts = overlay(drawn)
    note = "Runs that differ in their seed alone share a colour." if len(configs) < len(runs) else ""
    return section("Learning curves", legend(drawn, note=note), charts) if charts else ""


def _differences_section(runs: Sequence[Run]) -> str:
    rows = [(key, *(_cell(value(run, key)) for run in runs)) for key in differing_keys(runs)]
    same = "" if rows else paragraph("Their configs say the same.")
    return section("Config differences", same, table(["key", *(run.letter for run in runs)], rows))


def _cell(found: Any) -> str:
    return "–" if found is MISSING else short(show(found))  # noqa: RUF001


def _surroundings_section(runs: Sequence[Run]) -> str:
    around = [surroundings(run.record) for run in runs]
    keys = dict.fromkeys(key for found in around for key in found if not key.endswith("seed"))
    rows = []
    for key in keys:
        values = [found.get(key, MISSING) for found in around]
        if any(found != values[0] for found in values):
            rows.append((key, *map(_cell, values)))
    head = ["key", *(run.letter for run in runs)]
    same = "" if rows else paragraph("Code, versions, machine and data are the same.")
    return section("Code, versions, machine and data", same, folded(f"{len(rows)} differences", table(head, rows)))
