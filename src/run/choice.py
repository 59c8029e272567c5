"""Which checkpoint a path means, and which one is taken where that one turns out to be damaged."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from src.errors import UserError
from src.run.manifest import MANIFEST_NAME, Manifest, committed, damaged, find_best, read_manifest
from src.run.retention import BEST_NAME, LAST_NAME

T = TypeVar("T")


def candidates(path: Path) -> list[Manifest]:
    """The checkpoints that `path` may mean, in the order in which to try them; raises UserError if there is none.

    `.../last.ckpt` means the newest one that can be read; every other path means one checkpoint or an error.
    """
    if path.name == LAST_NAME:
        manifests = committed(path.parent)
        _note_damaged(path.parent)
        if not manifests:
            raise UserError(f"No checkpoint is in {path.parent}. Train first, or name another folder.")
        return manifests[::-1]
    if path.name == BEST_NAME:
        manifest = find_best(path.parent)
        _note_damaged(path.parent)
        if manifest is None:
            raise UserError(f"No checkpoint with a score is in {path.parent}. Use last.ckpt there, or train longer.")
        return [manifest]
    manifest = read_manifest(path.parent)
    if manifest is None or manifest.path != path:
        raise UserError(
            f"The checkpoint {path} is missing, cut short or without a valid {MANIFEST_NAME} beside it. "
            "Use best.ckpt or last.ckpt of a run folder."
        )
    return [manifest]


def first_whole(path: Path, manifests: list[Manifest], read: Callable[[Manifest], T], *, say: bool = True) -> T:
    """What `read` makes of the first of the candidates that it does not refuse; says which one if it is not the newest.

    Raises:
        UserError: of `read`, or that all are damaged.
    """
    if path.name != LAST_NAME:
        return read(manifests[0])
    for manifest in manifests:
        try:
            result = read(manifest)
        except UserError as error:
            if say:
                print(f"Note: {error}", file=sys.stderr)
            continue
        if say and (manifest is not manifests[0] or damaged(path.parent)):
            print(f"Note: using the checkpoint of step {manifest.step}, {manifest.path}.", file=sys.stderr)
        return result
    raise UserError(f"All checkpoints in {path.parent} are damaged. Restore one, or train in another folder.")


def local_path(path: str | os.PathLike[str]) -> Path:
    """`path`, if it is no address; raises UserError otherwise."""
    text = os.fspath(path)
    if "://" in text:
        raise UserError(f"The checkpoint ({text}) must be a local file. Download it with its {MANIFEST_NAME} first.")
    return Path(text)


def _note_damaged(checkpoints: Path) -> None:
    for folder in damaged(checkpoints):
        print(
            f"Note: the checkpoint {folder} is cut short or its {MANIFEST_NAME} is damaged; skipped.", file=sys.stderr
        )
