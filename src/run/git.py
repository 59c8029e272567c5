"""What git knows of this checkout: the commit, and every change on top of it."""

import subprocess
from pathlib import Path
from typing import Any

from src.run.secrets import redact_text

MOST_LETTERS = 200_000  # of the diff; more is a data file by accident
_MOST_NAMES = 100  # of files git does not track
_SECONDS = 20  # a checkout on a slow network disk must not hold up a run for longer


def describe_checkout(root: Path) -> dict[str, Any]:
    """`commit`, `clean`, `diff` (redacted, bounded), `untracked`; all None with a `note` where git cannot tell."""
    try:
        _git(root, "rev-parse", "--is-inside-work-tree")
    except (OSError, subprocess.SubprocessError) as error:
        return {"commit": None, "clean": None, "diff": None, "untracked": None, "note": _reason(error)}
    try:
        commit = _git(root, "rev-parse", "HEAD").strip()
    except subprocess.SubprocessError:
        commit = None  # a repository before its first commit
    try:
        diff = _git(root, "diff", "--no-color", "--no-ext-diff", *(["HEAD"] if commit else []))
        untracked = _git(root, "ls-files", "--others", "--exclude-standard").splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        return {"commit": commit, "clean": None, "diff": None, "untracked": None, "note": _reason(error)}
    note = f"diff cut at {MOST_LETTERS} of {len(diff)} letters" if len(diff) > MOST_LETTERS else None
    return {
        "commit": commit,
        "clean": bool(commit) and not diff and not untracked,
        # Redacted before it is cut, so that no half of a secret stays at the cut.
        "diff": redact_text(diff)[:MOST_LETTERS],
        "untracked": [redact_text(name) for name in untracked[:_MOST_NAMES]],
        "note": note,
    }


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True)
    return done.stdout.decode("utf-8", errors="replace")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "git is not installed"
    if isinstance(error, subprocess.CalledProcessError):
        return error.stderr.decode("utf-8", errors="replace").strip().partition("\n")[0]
    return str(error)
