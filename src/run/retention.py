"""What stays on the disk: the best checkpoint and the newest ones, and the names people type for them."""

import os
import shutil
from pathlib import Path

from src.run.files import short_id, sync_folder
from src.run.manifest import MANIFEST_NAME, Manifest, best_of, committed, step_folders

BEST_NAME, LAST_NAME = "best.ckpt", "last.ckpt"


def point_names(checkpoints: Path) -> None:
    """Make best.ckpt and last.ckpt the best and the last committed state; without a score there is no best."""
    manifests = committed(checkpoints)
    best = best_of(manifests)
    if best is not None:
        replace_by_link(best.path, checkpoints / BEST_NAME)
    if manifests:
        replace_by_link(manifests[-1].path, checkpoints / LAST_NAME)
    sync_folder(checkpoints)


def replace_by_link(source: Path, name: Path) -> None:
    """Make `name` a hard link to `source` (a copy where the file system has no links); never absent in between.

    A hard link costs no space and survives the removal of the step folder, which a symbolic link does not.
    """
    temporary = name.with_name(f".{name.name}.{short_id()}.tmp")
    try:
        try:
            os.link(source, temporary)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(source, temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, name)
    finally:
        temporary.unlink(missing_ok=True)  # also left behind by replace when both names are one file already


def prune(checkpoints: Path, *, keep_last: int) -> None:
    """Remove all but the best and the `keep_last` newest committed checkpoints; call it only after a commit.

    Unfinished saves of a killed process go too. The manifest goes first, so that a kill in between leaves an
    uncommitted folder and not a committed one with half its files.
    """
    manifests = committed(checkpoints)
    if not manifests:
        return
    kept = {manifest.path.parent for manifest in _kept(manifests, keep_last=keep_last)}
    for folder in step_folders(checkpoints):
        if folder not in kept:
            remove_step(folder)
    for stray in checkpoints.glob(".*.ckpt.????????.tmp"):  # of a process killed while it pointed the names
        stray.unlink(missing_ok=True)
    for folder in kept:
        for stray in folder.glob(".*.????????.tmp"):
            stray.unlink(missing_ok=True)


def remove_step(folder: Path) -> None:
    """Remove one step folder, its manifest first."""
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _kept(manifests: list[Manifest], *, keep_last: int) -> list[Manifest]:
    newest = manifests[-keep_last:]
    best = best_of(manifests)
    return newest if best is None else [*newest, best]
