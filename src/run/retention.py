"""What stays on the disk: the best checkpoint and the newest ones, and the names people type for them."""

import os
import shutil
from pathlib import Path

from src.errors import UserError
from src.run.files import short_id, sync_folder
from src.run.manifest import (
    MANIFEST_NAME,
    REPLACED,
    Manifest,
    best_of,
    committed,
    is_step_folder,
    read_manifest,
    step_folders,
)

BEST_NAME, LAST_NAME = "best.ckpt", "last.ckpt"


def point_names(checkpoints: Path) -> None:
    """Make best.ckpt and last.ckpt the best and the last committed state; without a score there is no best."""
    manifests = committed(checkpoints)
    best = best_of(manifests)
    if best is not None:
        replace_by_link(_pointed(best), checkpoints / BEST_NAME)
    if manifests:
        replace_by_link(_pointed(manifests[-1]), checkpoints / LAST_NAME)
    sync_folder(checkpoints)


def replace_by_link(source: Path, name: Path) -> None:
    """Make `name` a link to `source`; never absent in between.

    A hard link to a file (a copy where the file system has none) costs no space and survives the removal of the step
    folder. A folder has no hard links: it gets a symbolic one (a file with its name where there are none).
    """
    temporary = name.with_name(f".{name.name}.{short_id()}.tmp")
    try:
        if source.is_dir():
            _point_at_folder(source, temporary)
        else:
            _link_file(source, temporary)
        os.replace(temporary, name)
    finally:
        temporary.unlink(missing_ok=True)  # also left behind by replace when both names are one file already


def _pointed(manifest: Manifest) -> Path:
    """What its name points at: a sharded checkpoint is a folder, of which the state file is the smallest part."""
    return manifest.path.parent if manifest.files else manifest.path


def _link_file(source: Path, temporary: Path) -> None:
    try:
        os.link(source, temporary)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())


def _point_at_folder(source: Path, temporary: Path) -> None:
    try:
        os.symlink(source.name, temporary)  # relative, so that a run folder can be moved
    except OSError:
        temporary.write_text(source.name + "\n", encoding="utf-8")


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
        for stray in folder.rglob(".*.????????.tmp"):
            stray.unlink(missing_ok=True)


def make_room(folder: Path) -> None:
    """An empty step folder; a checkpoint that was already there stays committed under another name meanwhile.

    Raises:
        UserError: the folder is not named as one of a step.
    """
    if not is_step_folder(folder):
        raise UserError(
            f"The checkpoint folder ({folder}) must be named step-<8 digits>. Use step_folder(...) for the path."
        )
    replaced = folder.with_name(folder.name + REPLACED)
    if read_manifest(folder) is not None:
        if replaced.exists():
            remove_step(replaced)
        folder.rename(replaced)
    elif folder.exists():
        remove_step(folder)  # what a killed save left, perhaps one of more ranks
    folder.mkdir(parents=True)


def remove_step(folder: Path) -> None:
    """Remove one step folder, its manifest first."""
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _kept(manifests: list[Manifest], *, keep_last: int) -> list[Manifest]:
    newest = manifests[-keep_last:]
    best = best_of(manifests)
    return newest if best is None else [*newest, best]
