"""Where a search is kept: a journal file in the sweep folder, or a SQLite database; the only door to Optuna."""

import errno
import fcntl
import os
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from src.errors import UserError
from src.run.files import short_id

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

JOURNAL = "study.journal"
SQLITE = "sqlite:///"
# The one study of a journal; in a database each is named as its sweep folder, which others may be named too.
STUDY = "search"


def import_optuna() -> ModuleType:
    """Optuna, quiet: what a user has to know is said in our own words.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UserError(
            f"A search needs a package that is missing: {error}. Install it: pip install -e '.[sweep]'."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def place_of(sweep: Path, typed: str | None) -> dict[str, str | None]:
    """What sweep.json keeps under `study`: `storage` (None: the journal in the folder, which may move) and `name`.

    Raises:
        UserError: `typed` is no SQLite file, or its folder is not there.
    """
    if typed is None:
        return {"storage": None, "name": STUDY}
    path = typed.removeprefix(SQLITE)
    if path == typed or not path or path == ":memory:":
        raise UserError(
            f"hydra.sweeper.storage ({typed}) must be null, for {JOURNAL} in the sweep folder, or a file as in "
            "sqlite:///search.db."
        )
    if not Path(path).absolute().parent.is_dir():
        raise UserError(f"hydra.sweeper.storage ({typed}) is in a folder that does not exist; make it first.")
    return {"storage": f"{SQLITE}{Path(path).absolute()}", "name": f"{sweep.name}_{short_id()}"}


def open_storage(sweep: Path, storage: str | None, *, alone: bool = False) -> "BaseStorage":
    """The storage of the search in a sweep folder. alone: nobody else has it open, so that it may be mended.

    Raises:
        UserError: the database is none, or cannot be made.
    """
    optuna = import_optuna()
    if storage is not None:
        return open_database(storage)
    path = sweep / JOURNAL
    if alone:
        cut_torn_line(path)
    journal = optuna.storages.journal
    lock = Lock(path.with_name(f".{JOURNAL}.lock"), optunas=journal.JournalFileSymlinkLock(str(path)))
    return optuna.storages.JournalStorage(journal.JournalFileBackend(str(path), lock_obj=lock))


def open_database(storage: str) -> "BaseStorage":
    """The storage in a SQLite file, which is made if it is not there; raises UserError as open_storage."""
    optuna = import_optuna()
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return optuna.storages.RDBStorage(storage)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise UserError(
            f"hydra.sweeper.storage ({storage}) must be a SQLite file, or a new one in a folder that exists: {reason}."
        ) from error


def find_study(sweep: Path, *, storage: str | None, name: str) -> "tuple[BaseStorage, int]":
    """The storage of a search that was started, and the number of its study in there.

    Raises:
        UserError: it is not there.
    """
    file = sweep / JOURNAL if storage is None else Path(storage.removeprefix(SQLITE))
    try:
        if file.exists():
            opened = open_storage(sweep, storage)
            return opened, opened.get_study_id_from_name(name)
    except KeyError:
        pass
    raise UserError(f"{file} holds no study {name}. Put the file back that the search in {sweep} has written.")


def load_study(sweep: Path, *, storage: str | None, name: str) -> "Study":
    """The study of a search that was started, for who evaluates it; raises as find_study."""
    opened, _ = find_study(sweep, storage=storage, name=name)
    return import_optuna().load_study(study_name=name, storage=opened)


def cut_torn_line(path: Path) -> None:
    """Remove the half line that a write left behind whose machine or disk gave up: Optuna would append to it."""
    if not path.exists():
        return
    with open(path, "r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


class Lock:
    """One writer of the journal at a time, by a record lock: it dies with its process, however that ends.

    Optuna's own lock is a file, which a killed process leaves behind; the next one waits 30 s for it. It is what is
    left on a file system without locks.
    """

    def __init__(self, path: Path, *, optunas: Any) -> None:
        self.path, self.optunas, self.descriptor = path, optunas, -1

    def acquire(self) -> bool:
        """Wait for it."""
        self.descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
        except OSError as error:
            os.close(self.descriptor)
            self.descriptor = -1
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            self.optunas.acquire()
        return True

    def release(self) -> None:
        """Let the next one have it."""
        if self.descriptor == -1:
            self.optunas.release()
        else:
            os.close(self.descriptor)
