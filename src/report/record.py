"""What it takes to run it again: command, configuration, environment, code."""

from typing import Any

from src.report.markup import escape, folded, preformatted, section, table
from src.report.read import RunFiles

_MOST_LETTERS = 50_000  # of the changes to the code, which can be megabytes


def record_section(files: RunFiles) -> str:
    """The command as it is; the configuration as a list to search in and as its file; the rest folded."""
    environment = dict(files.environment)
    git = environment.pop("git", None)
    diff = str(git.get("diff") or "") if isinstance(git, dict) else ""
    described = {"git": {k: v for k, v in git.items() if k != "diff"}} if isinstance(git, dict) else {}
    rows = [(name, value) for name, value in flat({**described, **environment}) if value is not None]
    return section(
        "Record",
        preformatted(files.command),
        folded("Configuration", _searchable("config", flat(files.config))),
        folded("Configuration as a file", preformatted(files.config_text)),
        folded("Environment", _searchable("environment", rows)),
        folded("Changes to the code since the commit", preformatted(_cut(diff))),
    )


def _cut(diff: str) -> str:
    if len(diff) <= _MOST_LETTERS:
        return diff
    return f"{diff[:_MOST_LETTERS]}\n... The other {len(diff) - _MOST_LETTERS:,} characters are in env.json."


def _searchable(name: str, rows: list[tuple[str, Any]]) -> str:
    if not rows:
        return ""
    label = f'placeholder="Filter" aria-label="Filter the {escape(name)}"'
    field = f'<input class="scripted" type="search" data-filter="{escape(name)}" {label}>'
    return f"{field}\n{table([], rows, name=name)}"


def flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """A nested dict as (dotted name, value) pairs in its own order; short lists as words."""
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in flat(item, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(value, list):
        if any(isinstance(item, dict) for item in value):
            return [pair for index, item in enumerate(value) for pair in flat(item, f"{prefix}.{index}")]
        return [(prefix, ", ".join(map(str, value)) or "none")]
    return [(prefix, value)]
