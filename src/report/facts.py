"""What to see first: how the run ended, its few most important numbers, all results, the looks at the test set."""

import re
from collections.abc import Collection
from datetime import datetime
from typing import Any

from src.report.chart import split_kind
from src.report.markup import METRICS, badge, escape, folded, paragraph, section, shown, table, tiles
from src.report.read import RunFiles

_SPLITS = ("val", "test")
_WORDS = {
    "finished": "The run finished.",
    "running": "The run is not over yet: all numbers are of the time of writing.",
    "pruned": "The search that this run is a trial of ended it early, for others did better.",
}
_KINDS = {"finished": "good", "pruned": "warn", "running": "warn"}
_TILES = {
    "test/acc": "test accuracy",
    "test/f1": "test F1",
    "test/ppl": "test perplexity",
    "test/bits_per_byte": "test bits per byte",
    "val/acc": "val accuracy",
    "val/ppl": "val perplexity",
    "val/loss": "val loss",
    "best_epoch": "best epoch",
}
_INTERVAL = re.compile(r"(.+)_(low|high)")


def header(files: RunFiles) -> str:
    """The name of the run, how it ended, and what it is in one line."""
    record, config = files.record, files.config
    result = record.result
    parts = [
        record.model.replace("_", " "),
        f"seed {config['seed']}" if "seed" in config else "",
        f"{shown(result['parameters'])} parameters" if "parameters" in result else "",
        f"{shown(result['epochs'])} epoch{'' if result['epochs'] == 1 else 's'}" if "epochs" in result else "",
        _duration(result.get("seconds")),
    ]
    line = " · ".join(escape(part) for part in parts if part)
    state = badge(record.state, kind=_KINDS.get(record.state, "bad"))
    return f'<header><h1>{escape(files.path.resolve().name)} {state}</h1><p class="soft">{line}</p></header>'


def state_section(files: RunFiles) -> str:
    """How the run ended, and what is missing because of that; the numbers to see first."""
    status, state = files.record.status, files.record.state
    ended = _WORDS.get(state, f"The run ended as {state} and did not do all of its work.")
    reason = status.get("reason") or status.get("signal")
    reasons = [f'<pre class="prose">{escape(reason)}</pre>'] if reason else []
    names = ("started", "ended", "attempt", "exit_code", "host")
    facts = table([], [(name.replace("_", " "), _moment(status[name])) for name in names if name in status])
    missing = [paragraph(sentence, kind="missing") for sentence in files.missing]
    return section(
        "Summary",
        _tiles(files.record.result),
        paragraph(ended, kind=_KINDS.get(state, "bad")),
        *reasons,
        *missing,
        folded("When and where", facts),
    )


def result_section(files: RunFiles) -> str:
    """Metrics of validation and test side by side, with their intervals and at the threshold; then all others."""
    result = files.record.result
    if not result:
        return ""
    warning = ""
    if len(files.ledger) > 1:
        warning = paragraph(f"The test set was used {len(files.ledger)} times; see the ledger below.", kind="bad")
    intervals = any(_INTERVAL.fullmatch(name.partition("/")[2]) for name in result)
    note = paragraph("In brackets: the 95 % interval over the examples.", kind="soft") if intervals else ""
    others = [(name, value) for name, value in result.items() if not name.startswith(_SPLITS)]
    return section("Results", warning, _metrics(result), note, folded("More numbers", table([], others)))


def _metrics(result: dict[str, Any]) -> str:
    """A row per metric: val and test where the most probable class is called, and at the threshold chosen on val."""
    threshold = result.get("threshold")
    columns = {"val": "validation", "test": "test"}
    if isinstance(threshold, int | float):
        columns |= {f"{split}_at_threshold": f"{split} at {threshold:.4f}" for split in _SPLITS}
    found = [name.partition("/") for name in result]
    kept = {metric: None for column, _, metric in found if column in columns}  # in their order, each once
    rows = [
        (METRICS.get(name, name.replace("_", " ")), *(_with_interval(result, f"{column}/{name}") for column in columns))
        for name in kept
        if name != "again" and not _is_end(name, kept)
    ]
    used = [i for i in range(len(columns)) if any(row[i + 1] != shown(None) for row in rows)]
    heads = ["", *(list(columns.values())[i] for i in used)]
    return table(heads, [(row[0], *(row[i + 1] for i in used)) for row in rows], kind="numbers")


def _tiles(result: dict[str, Any]) -> str:
    return tiles(*((words, result.get(name), split_kind(name)) for name, words in _TILES.items()))


def _is_end(name: str, names: Collection[str]) -> bool:
    """True for acc_low beside acc: an end of its interval."""
    match = _INTERVAL.fullmatch(name)
    return match is not None and match[1] in names


def _with_interval(result: dict[str, Any], name: str) -> str:
    low, high = result.get(f"{name}_low"), result.get(f"{name}_high")
    interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{shown(result.get(name))}{interval}"


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return ""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 2:
        return f"{hours:.1f} hours"
    return f"{minutes:.0f} minutes" if minutes >= 3 else f"{seconds:.0f} seconds"


def _moment(value: Any) -> Any:
    """A time without its T and its offset; anything else as it is."""
    try:
        return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M:%S} UTC"
    except (TypeError, ValueError):
        return value


def ledger_section(files: RunFiles) -> str:
    """Every look at the test set."""
    if not files.ledger:
        return section("Test set", paragraph("The test set was not used by this run."))
    rows = []
    for entry in files.ledger:
        metrics = entry.get("metrics")
        kept = {n: v for n, v in metrics.items() if not _INTERVAL.fullmatch(n)} if isinstance(metrics, dict) else {}
        words = ", ".join(f"{name.removeprefix('test/')} {shown(value)}" for name, value in kept.items())
        weights = str(entry.get("checkpoint_sha256") or "")[:12]
        marked = "again" if entry.get("again") else "first"
        rows.append((_moment(entry.get("time", entry.get("note", "?"))), marked, entry.get("split"), weights, words))
    return section("Test set", table(["time", "look", "split", "weights (sha256)", "metrics"], rows))
