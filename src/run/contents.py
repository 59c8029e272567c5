"""What lies in a run folder, how large it is, what of it is not the run's own, and how all of it goes away."""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from src.errors import UserError
from src.run.files import read_json, short_id

# What the parts of this project write, at the top of a run folder and in its checkpoints/. Anything else is someone's.
_OWN = re.compile(
    r"(config\.yaml|command\.txt|status\.json|env\.json|origin\.json|metrics\.csv|result\.json|test_ledger\.jsonl|"
    r"predictions_(val|test)\.npz|mistakes_(val|test)\.json|report\.html|samples\.txt|vocabulary\.json|"
    r"tokenizer\.json|job\.sbatch|job_id\.txt|checkpoints|logs|wandb|tensorboard|\..*\.tmp|(\.\w+)?\.lock)"
)
_REMOVED = ".removed"  # ends the hidden name of a folder on its way out
_OWN_CHECKPOINT = re.compile(r"(step-\d{8,}(-replaced)?|best\.ckpt|last\.ckpt|\..*\.tmp)")


@dataclass
class Contents:
    """Bytes by name at the top of a folder (a file with several names counts once), and what is not the run's own."""

    sizes: dict[str, int] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Of everything."""
        return sum(self.sizes.values())


def examine(folder: Path) -> Contents:
    """Walk a run folder; links are not followed, and one that leads out of it is foreign."""
    found, seen = Contents(), set()
    for entry, name in _walk(folder):
        status, top = entry.stat(follow_symlinks=False), name.partition("/")[0]
        if status.st_ino not in seen:  # best.ckpt is a second name of a state
            found.sizes[top] = found.sizes.get(top, 0) + status.st_size * (not entry.is_dir(follow_symlinks=False))
            seen.add(status.st_ino)
        if _is_foreign(entry, name, folder):
            found.foreign.append(name)
    return found


def _walk(folder: str | Path, above: str = "") -> Iterator[tuple["os.DirEntry[str]", str]]:
    """Everything below a folder with its name from there, a folder before what is in it."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            yield entry, above + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{above}{entry.name}/")


def _is_foreign(entry: "os.DirEntry[str]", name: str, folder: Path) -> bool:
    if entry.is_symlink():
        return not Path(os.path.realpath(entry.path)).is_relative_to(os.path.realpath(folder))
    place, _, rest = name.partition("/")
    if place == "checkpoints" and rest:
        return "/" not in rest and not _OWN_CHECKPOINT.fullmatch(rest)
    return not rest and not _OWN.fullmatch(name)


def remove(folder: Path, *, state: str | None) -> None:
    """Delete a run folder, unless a process took it in the meantime. A link in it goes, what it leads to stays.

    It gets a hidden name first, so that half of a run is never taken for one. state: as status.json said when it was
    decided to delete it.

    Raises:
        UserError: it is in use, was changed, or may not be deleted.
    """
    try:
        lock = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o644)
        try:
            _take(lock, folder)
            if (read_json(folder / "status.json") or {}).get("state") != state:
                raise UserError(f"{folder} has changed in the meantime.")
            hidden = folder.with_name(f".{folder.name}.{short_id()}{_REMOVED}")
            folder.rename(hidden)
            shutil.rmtree(hidden)
        finally:
            os.close(lock)
    except OSError as error:
        raise UserError(f"{folder} cannot be deleted: {error}.") from error


def finish_removals(place: Path) -> None:
    """Remove what a killed process was removing in this folder."""
    for hidden in place.glob(f".*.????????{_REMOVED}"):
        shutil.rmtree(hidden, ignore_errors=True)


def _take(lock: int, folder: Path) -> None:
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise UserError(f"{folder} is in use.") from None
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
