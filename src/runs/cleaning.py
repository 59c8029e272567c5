"""`clean`: delete runs that nobody needs; a dry run, unless yes=true."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from src.errors import UserError
from src.run.contents import examine, finish_removals, remove
from src.run.index import UNREADABLE, RunRecord, read_runs
from src.run.status import PREPARED
from src.run.waiting import in_threads
from src.runs.filters import explain_none, select
from src.runs.keeping import kept, sweep_states
from src.runs.output import Row, note, print_rows
from src.runs.showing import size
from src.runs.sweeps import INTERRUPTED
from src.runs.words import Filter, boolean, count, duration, folder, read_words

OPTIONS = {"older": duration, "keep": count, "yes": boolean, "root": folder}
COLUMNS = ("run", "state", "size", "note")


def clean(typed: Sequence[str]) -> None:
    """Print which of the runs that fit would go, which stay and why; delete them with yes=true.

    Raises:
        UserError: yes=true with nothing that says which, or a run could not be deleted.
    """
    words = read_words(typed, options=OPTIONS, filters=True)
    yes, root = words.options.get("yes", False), words.options.get("root", Path("outputs"))
    if yes and not (words.filters or {"older", "keep"} & set(words.options)):
        raise UserError("clean yes=true would delete all but the best; say which, with filters, older=30d or keep=3.")
    records = read_runs(_whole(root))
    below = [record for record in records if record.path.is_relative_to(root)]
    chosen = select(below, words.filters, options=OPTIONS)
    if not chosen:
        note(explain_none(below, words.filters, root=root))
        return
    if "older" in words.options:
        chosen = [record for record in chosen if _age(record) > words.options["older"]]
        if not chosen:
            note("No run that fits is that old.")
            return
    sweeps = sweep_states(records)
    reasons = kept(records, sweeps, best=words.options.get("keep", 1))
    stays = {run.path: reasons.get(run.path) or _must_be_named(run, sweeps, words.filters) for run in chosen}
    free = [run for run in chosen if not stays[run.path]]
    sizes = {}
    for run, found in zip(free, in_threads(lambda run: examine(run.path), free), strict=True):
        sizes[run.path] = found.bytes
        if found.foreign:
            stays[run.path] = f"holds what is not its own: {', '.join(found.foreign)}"
    going = [run for run in free if not stays[run.path]]
    rows: list[Row] = [{"run": run.label, "state": run.state, "size": size(sizes[run.path])} for run in going]
    rows += [{"run": r.label, "state": r.state, "note": stays[r.path]} for r in chosen if stays[r.path]]
    print_rows(COLUMNS, rows, form="table")
    total = f"{len(going):,} of {len(below):,} runs, {size(sum(sizes[run.path] for run in going))}"
    if not yes:
        print(f"{total} would be deleted; those with a note stay. Nothing is deleted without yes=true.")
        return
    failed = _delete(going)
    for place in {record.path.parent for record in records}:
        finish_removals(place)
    if failed:
        raise UserError(f"{len(failed)} of {len(going):,} runs were not deleted. {' '.join(failed)}")
    print(f"{total}, deleted; those with a note stay.")


def _whole(root: Path) -> Path:
    """The folder of all runs, where `root` is a part of it: whoever names a run may be in another part."""
    if root.parent.name == "sweeps":
        return root.parents[1]
    return root.parent if root.name in ("train", "sweeps") else root


def _delete(records: Sequence[RunRecord]) -> list[str]:
    """Why some were not."""
    failed = []
    for record in records:
        try:
            remove(record.path, state=record.status.get("state"))
        except UserError as error:
            failed.append(str(error))
    return failed


def _must_be_named(record: RunRecord, sweeps: dict[Path, str], filters: Sequence[Filter]) -> str:
    """Runs that wait, jobs of a sweep that can go on, and what nobody can read go only if just that was asked for."""
    if record.state in (PREPARED, UNREADABLE) and Filter("state", "=", record.state) not in filters:
        return f"goes with state={record.state} only"
    asked = any(wanted.key == "sweep" and wanted.operator == "=" for wanted in filters)
    if record.sweep is not None and sweeps[record.sweep] == INTERRUPTED and not asked:
        return f"its sweep can go on; goes with sweep={record.sweep.name} only"
    return ""


def _age(record: RunRecord) -> timedelta:
    """Since its end, or since a run without one wrote its last metrics."""
    try:
        ended = datetime.fromisoformat(record.status["ended"])
        return datetime.now(UTC) - (ended if ended.tzinfo else ended.replace(tzinfo=UTC))
    except (KeyError, TypeError, ValueError):
        files = (record.path / name for name in ("status.json", "metrics.csv"))
        last = max(file.stat().st_mtime for file in files if file.exists())
        return datetime.now(UTC) - datetime.fromtimestamp(last, UTC)
