"""Lightning's checkpoint plugin with verified files: a killed save never costs the last good checkpoint."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from src.errors import UserError
from src.run.environment import versions
from src.run.manifest import (
    MANIFEST_NAME,
    REPLACED,
    Manifest,
    committed,
    damaged,
    find_best,
    finite_scores,
    is_step_folder,
    read_manifest,
)
from src.run.retention import BEST_NAME, LAST_NAME, point_names, prune, remove_step
from src.run.state_file import read_state, write_state
from src.run.status import now

Place = str | Callable[..., Any] | torch.device


class VerifiedCheckpointIO(CheckpointIO):
    """Saves `checkpoints/step-00001234/state.ckpt`: temporary file, fsync, rename, manifest, names, pruning.

    monitor, mode (min or max): the score that decides which checkpoint is the best.
    config_sha256: of the configuration, for the manifest. keep_last: newest checkpoints to keep, at least 2, because
    the newest may be found damaged.
    """

    def __init__(
        self, *, monitor: str = "val/loss", mode: str = "min", config_sha256: str = "", keep_last: int = 2
    ) -> None:
        if mode not in ("min", "max"):
            raise UserError(f"mode ({mode!r}) must be min or max.")
        if keep_last < 2:
            raise UserError(
                f"keep_last ({keep_last}) must be 2 or more, so that a damaged checkpoint has a previous one."
            )
        self.monitor, self.mode = monitor, mode
        self.config_sha256, self.keep_last = config_sha256, keep_last

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: dict[str, Any] | None = None
    ) -> None:
        """Save and commit. storage_options: optional `scores` (metric name to number) and `data` (fingerprint)."""
        options = dict(storage_options or {})
        scores, data = options.pop("scores", {}), options.pop("data", {})
        if options:
            raise TypeError(f"storage_options holds {sorted(options)}; known are scores and data")
        path = _local(path)
        _make_room(path.parent)
        sha256, size = write_state(checkpoint, path)
        manifest = Manifest(
            path=path,
            sha256=sha256,
            bytes=size,
            step=int(checkpoint.get("global_step", 0)),
            epoch=int(checkpoint.get("epoch", 0)),
            monitor=self.monitor,
            mode=self.mode,
            scores=finite_scores(scores),
            config_sha256=self.config_sha256,
            data=data,
            versions=versions(),
            time=now(),
        )
        manifest.commit()
        point_names(path.parent.parent)
        prune(path.parent.parent, keep_last=self.keep_last)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Place | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """See `load_verified`; weights_only=False is refused, None means True."""
        if weights_only is False:
            raise UserError(
                f"The checkpoint {os.fspath(path)} is only loaded with weights_only=True: it is data, not code."
            )
        return load_verified(path, map_location="cpu" if map_location is None else map_location)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove one checkpoint (its step folder)."""
        folder = _local(path).parent
        if folder.is_dir():
            remove_step(folder)


def load_verified(path: str | os.PathLike[str], *, map_location: Place = "cpu") -> dict[str, Any]:
    """The state in `path`, after its hash was compared with its manifest; raises UserError naming the file.

    `.../best.ckpt` means the best committed checkpoint, `.../last.ckpt` the newest one that is not damaged.
    """
    path = _local(path)
    if path.name == LAST_NAME:
        return load_latest(path.parent, map_location=map_location)
    if path.name == BEST_NAME:
        manifest = find_best(path.parent)
        _note_damaged(path.parent)
        if manifest is None:
            raise UserError(f"No checkpoint with a score is in {path.parent}. Use last.ckpt there, or train longer.")
    else:
        manifest = read_manifest(path.parent)
    if manifest is None or (path.name != BEST_NAME and manifest.path != path):
        raise UserError(
            f"The checkpoint {path} is missing, cut short or without a valid {MANIFEST_NAME} beside it. "
            "Use best.ckpt or last.ckpt of a run folder."
        )
    return read_state(manifest.path, sha256=manifest.sha256, map_location=map_location)


def load_latest(checkpoints: Path, *, map_location: Place = "cpu") -> dict[str, Any]:
    """The newest committed state whose hash is right; says in one line when that is not the newest of all.

    Raises UserError if there is none: a caller that wants to start anew asks `find_last` first.
    """
    manifests = committed(checkpoints)
    _note_damaged(checkpoints)
    if not manifests:
        raise UserError(f"No checkpoint is in {checkpoints}. Train first, or name another folder.")
    for manifest in reversed(manifests):
        try:
            state = read_state(manifest.path, sha256=manifest.sha256, map_location=map_location)
        except UserError as error:
            print(f"Note: {error}", file=sys.stderr)
            continue
        if manifest is not manifests[-1] or damaged(checkpoints):
            print(f"Note: using the checkpoint of step {manifest.step}, {manifest.path}.", file=sys.stderr)
        return state
    raise UserError(f"All checkpoints in {checkpoints} are damaged. Restore one, or train in another folder.")


def _note_damaged(checkpoints: Path) -> None:
    for folder in damaged(checkpoints):
        print(
            f"Note: the checkpoint {folder} is cut short or its {MANIFEST_NAME} is damaged; skipped.", file=sys.stderr
        )


def _make_room(folder: Path) -> None:
    """An empty step folder; a checkpoint that was already there stays committed under another name meanwhile."""
    if not is_step_folder(folder):
        raise UserError(
            f"The checkpoint folder ({folder}) must be named step-<8 digits>. Use step_folder(...) for the path."
        )
    replaced = folder.with_name(folder.name + REPLACED)
    if read_manifest(folder) is not None:
        if replaced.exists():
            remove_step(replaced)
        folder.rename(replaced)
    folder.mkdir(parents=True, exist_ok=True)


def _local(path: str | os.PathLike[str]) -> Path:
    text = os.fspath(path)
    if "://" in text:
        raise UserError(f"The checkpoint ({text}) must be a local file. Download it with its {MANIFEST_NAME} first.")
    return Path(text)
