"""The checkpoint of another run that a new one begins with: found, compared with its hashes, copied."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.run.choice import candidates, first_whole
from src.run.files import replacing, write_json
from src.run.folder import RunFolder
from src.run.manifest import STATE_NAME, Manifest, committed, step_folder
from src.run.origin import BEST, FILE, LAST, Origin
from src.run.reading import verify_files
from src.run.retention import BEST_NAME, LAST_NAME, make_room, point_names


def find_start(origin: Origin) -> Manifest:
    """The checkpoint that is meant, every hash of it compared; `last` passes over damaged ones and says so.

    Raises:
        UserError: there is none, or it is damaged.
    """
    checkpoints = RunFolder(origin.run).checkpoints
    steps = [manifest.step for manifest in committed(checkpoints)]
    if not steps:
        raise UserError(f"branch_from ({origin}) has no checkpoint to begin with; name a run that trained for a while.")
    if origin.at.isdecimal():
        if int(origin.at) not in steps:
            kept = ", ".join(map(str, steps))
            raise UserError(f"branch_from ({origin}) has no checkpoint of that step; it has {kept}.")
        path = step_folder(checkpoints, int(origin.at)) / STATE_NAME
    else:
        path = checkpoints / {LAST: LAST_NAME, BEST: BEST_NAME}[origin.at]
    return first_whole(path, candidates(path), _verified)


def _verified(manifest: Manifest) -> Manifest:
    verify_files(manifest, list(manifest.all_files))
    return manifest


def copy_start(manifest: Manifest, run: RunFolder, record: dict[str, Any]) -> None:
    """Let a claimed run begin with a copy of another run's checkpoint and of its metrics, which a resume cuts there.

    The copy's own manifest comes last, so a killed copy counts as none. Only reads the other folder.

    Raises:
        UserError: the checkpoint went away meanwhile, or was damaged on the way.
    """
    folder = step_folder(run.checkpoints, manifest.step)
    make_room(folder)
    try:
        for name in manifest.all_files:
            _copy(manifest.path.parent / name, folder / name)
        metrics = RunFolder(manifest.path.parents[2]).metrics
        if metrics.exists():
            _copy(metrics, run.metrics)
    except FileNotFoundError as error:
        raise UserError(f"branch_from: {error.filename} went away while it was copied; try again.") from error
    copied = replace(manifest, path=folder / manifest.path.name)
    verify_files(copied, list(copied.all_files))
    write_json(run.path / FILE, record)
    copied.commit()
    point_names(run.checkpoints)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    with open(source, "rb") as old, replacing(target) as new:
        shutil.copyfileobj(old, new, 1 << 20)
