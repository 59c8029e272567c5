"""The manifest beside a checkpoint: what its files are and their hashes. Written last, it is the commit of a save."""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from src.errors import UserError
from src.run.files import write_text

STATE_NAME, MANIFEST_NAME, SHARDS = "state.ckpt", "manifest.json", "shards"
REPLACED = "-replaced"  # a checkpoint that is being saved a second time: still good until the new one is committed
_OWN_HASH = "manifest_sha256"  # the last entry: the hash of the others; a manifest of version 0.2 has none
_FOLDER = re.compile(rf"step-(\d{{8,}})({REPLACED})?")


class FileFacts(TypedDict):
    """What is known of a file besides its name."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One committed checkpoint. `path` is its state file; `scores` holds None where a metric was not finite.

    files: those beside the state file by their names in the folder, `shards/...`; empty where one process has it all.
    """

    path: Path
    sha256: str
    bytes: int
    step: int
    epoch: int
    monitor: str
    mode: str  # min or max
    scores: dict[str, float | None] = field(default_factory=dict)
    config_sha256: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str | None] = field(default_factory=dict)
    time: str = ""
    files: dict[str, FileFacts] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """The monitored metric; None when it was not measured or not finite."""
        return self.scores.get(self.monitor)

    @property
    def all_files(self) -> dict[str, FileFacts]:
        """Of the folder, the state file among them."""
        return {self.path.name: {"sha256": self.sha256, "bytes": self.bytes}, **self.files}

    @property
    def identity(self) -> str:
        """One hash for all files together: that of the state file where it is the only one."""
        hashes = [facts["sha256"] for _, facts in sorted(self.all_files.items())]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()

    def commit(self) -> None:
        """Write the manifest; from here on the checkpoint counts."""
        write_text(self.path.with_name(MANIFEST_NAME), _text({**asdict(self), "path": self.path.name}))


def step_folder(checkpoints: Path, step: int) -> Path:
    """`checkpoints/step-00001234`: sorted by name is sorted by step, up to 99,999,999 steps."""
    return checkpoints / f"step-{step:08d}"


def is_step_folder(folder: Path) -> bool:
    """True for the folder of a checkpoint under its own name, not that of one being replaced."""
    match = _FOLDER.fullmatch(folder.name)
    return match is not None and match[2] is None


def finite_scores(scores: dict[str, Any]) -> dict[str, float | None]:
    """Scores as plain floats; None for NaN and infinity, so that they can never be the best."""
    numbers = {name: float(value) for name, value in scores.items()}
    return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


def step_folders(checkpoints: Path) -> list[Path]:
    """Folders of single checkpoints, committed or not, in the order of their steps; every other name is ignored."""
    if not checkpoints.is_dir():
        return []
    matches = [(_FOLDER.fullmatch(path.name), path) for path in checkpoints.iterdir()]
    named = [(int(match[1]), match[2] is None, path) for match, path in matches if match and path.is_dir()]
    return [path for *_, path in sorted(named)]


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of one step folder; None if it is absent or damaged, or a file it names has another size."""
    try:
        text = (folder / MANIFEST_NAME).read_bytes().decode()
        values = json.loads(text)
        if _OWN_HASH in values and text != _text({key: values[key] for key in values if key != _OWN_HASH}):
            return None
        values.pop(_OWN_HASH, None)
        manifest = Manifest(**{**values, "path": folder / str(values["path"])})
        whole = manifest.path.parent == folder and all((folder / n).parent == folder / SHARDS for n in manifest.files)
        whole = whole and all((folder / n).stat().st_size == facts["bytes"] for n, facts in manifest.all_files.items())
    except (KeyError, TypeError, ValueError, AttributeError, OSError, RecursionError):
        return None
    return manifest if whole else None


def _text(values: dict[str, Any]) -> str:
    """JSON that holds its own hash, so that a changed score or step is found as a changed weight is."""
    body = json.dumps(values, indent=2, allow_nan=False)
    sha256 = hashlib.sha256(body.encode()).hexdigest()
    return json.dumps({**values, _OWN_HASH: sha256}, indent=2, allow_nan=False) + "\n"


def committed(checkpoints: Path) -> list[Manifest]:
    """Committed checkpoints, oldest step first. Sizes are compared here, hashes when a state is loaded.

    Raises UserError if checkpoints were committed and none of them is whole: nobody must start over in silence then.
    """
    folders = step_folders(checkpoints)
    manifests = [manifest for folder in folders if (manifest := read_manifest(folder))]
    # One step saved twice counts once: the second save, if it was committed.
    names = {manifest.path.parent.name for manifest in manifests}
    manifests = [m for m in manifests if m.path.parent.name.removesuffix(REPLACED) not in names - {m.path.parent.name}]
    if not manifests and damaged(checkpoints):
        raise UserError(
            f"All checkpoints in {checkpoints} are damaged. Restore one from a backup, or train in another folder."
        )
    return manifests


def damaged(checkpoints: Path) -> list[Path]:
    """Step folders that were committed and are not whole any more."""
    return [f for f in step_folders(checkpoints) if (f / MANIFEST_NAME).exists() and read_manifest(f) is None]


def find_last(checkpoints: Path) -> Manifest | None:
    """The committed checkpoint of the highest step; None if nothing was ever committed."""
    manifests = committed(checkpoints)
    return manifests[-1] if manifests else None


def find_best(checkpoints: Path) -> Manifest | None:
    """The committed checkpoint with the best finite monitored score, the earliest of equals; None if there is none."""
    scored = [manifest for manifest in committed(checkpoints) if manifest.score is not None]
    return best_of(scored)


def best_of(manifests: list[Manifest]) -> Manifest | None:
    """The best by the monitor and mode of the newest, compared only with those scored by the same monitor."""
    if not manifests:
        return None
    newest = manifests[-1]
    same = [m for m in manifests if (m.monitor, m.mode) == (newest.monitor, newest.mode) and m.score is not None]
    sign = 1.0 if newest.mode == "min" else -1.0
    return min(same, key=lambda m: (sign * (m.score or 0.0), m.step), default=None)
