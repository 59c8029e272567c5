"""The parts of the page that are words and tables: state, results, ledger, configuration, environment."""

from typing import Any

from src.report.markup import folded, paragraph, preformatted, section, table
from src.report.read import RunFiles

_SPLITS = ("val", "test")


def state_section(files: RunFiles) -> str:
    """How the run ended, and what is missing because of that."""
    status, state = files.record.status, files.record.state
    words = {
        "finished": "The run finished.",
        "running": "The run is not over yet: all numbers are of the time of writing.",
    }
    ended = f"The run ended as {state} and did not do all of its work."
    reason = status.get("reason") or status.get("signal")
    kind = "good" if state == "finished" else "bad"
    names = ("started", "ended", "attempt", "exit_code", "host")
    facts = table([], [(name.replace("_", " "), status[name]) for name in names if name in status])
    reasons = [paragraph(f"Reason: {reason}")] if reason else []
    missing = [paragraph(sentence, kind="missing") for sentence in files.missing]
    return section("State", paragraph(words.get(state, ended), kind=kind), *reasons, facts, *missing)


def result_section(files: RunFiles) -> str:
    """Metrics of validation and test side by side; then everything else that result.json holds."""
    result = files.record.result
    if not result:
        return ""
    names = sorted({name.partition("/")[2] for name in result if name.partition("/")[0] in _SPLITS})
    rows = [(name, *(result.get(f"{split}/{name}") for split in _SPLITS)) for name in names]
    others = [(name, value) for name, value in result.items() if name.partition("/")[0] not in _SPLITS]
    warning = ""
    if len(files.ledger) > 1:
        warning = paragraph(f"The test set was used {len(files.ledger)} times; see the ledger below.", kind="bad")
    return section("Results", warning, table(["metric", "validation", "test"], rows), table([], others))


def ledger_section(files: RunFiles) -> str:
    """Every look at the test set."""
    if not files.ledger:
        return section("Test set", paragraph("The test set was not used by this run."))
    rows = []
    for entry in files.ledger:
        metrics = entry.get("metrics")
        words = ", ".join(f"{name} {value}" for name, value in metrics.items()) if isinstance(metrics, dict) else ""
        weights = str(entry.get("checkpoint_sha256") or "")[:12]
        marked = "again" if entry.get("again") else "first"
        rows.append((entry.get("time", entry.get("note", "?")), marked, entry.get("split"), weights, words))
    return section("Test set", table(["time", "look", "split", "weights (sha256)", "metrics"], rows))


def record_section(files: RunFiles) -> str:
    """What it takes to run it again: command, configuration, environment, code."""
    environment = dict(files.environment)
    git = environment.pop("git", None)
    diff = str(git.get("diff") or "") if isinstance(git, dict) else ""
    described = {"git": {k: v for k, v in git.items() if k != "diff"}} if isinstance(git, dict) else {}
    rows = [(name, value) for name, value in flat({**described, **environment}) if value is not None]
    return section(
        "Record",
        preformatted(files.command),
        folded("Configuration", preformatted(files.config_text)),
        folded("Environment", table([], rows)),
        folded("Changes to the code since the commit", preformatted(diff)),
    )


def flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """A nested dict as (dotted name, value) pairs in its own order; short lists as words."""
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in flat(item, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(value, list):
        if any(isinstance(item, dict) for item in value):
            return [pair for index, item in enumerate(value) for pair in flat(item, f"{prefix}.{index}")]
        return [(prefix, ", ".join(map(str, value)) or "none")]
    return [(prefix, value)]
