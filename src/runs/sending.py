"""`sync` and `dashboard`: what runs recorded for W&B is sent, and shown there."""

from collections.abc import Sequence
from pathlib import Path

from src.run.index import find_run, read_runs
from src.runs.output import note
from src.runs.words import folder, read_words


def sync(typed: Sequence[str]) -> None:
    """Send what the named runs, or all, recorded and did not send."""
    words = read_words(typed, options={"root": folder}, names=["[RUN...]"])
    root = words.options.get("root", Path("outputs"))
    runs = [find_run(name, root=root) for name in words.names] or read_runs(root)
    recorded = [run.path for run in runs if (run.path / "wandb" / "record.jsonl").is_file()]
    if not recorded:
        note(f"Nothing to send: none of {len(runs):,} runs has a record for W&B. It is written with logger=wandb.")
        return
    from src.logger.sync import sync as send

    send(recorded)


def dashboard(typed: Sequence[str]) -> None:
    """Create or update the project's workspace and report."""
    from src.logger.dashboard import main

    main(typed)
