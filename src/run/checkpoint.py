"""Lightning's checkpoint plugin with verified files: a killed save never costs the last good checkpoint."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO

from src.errors import UserError
from src.run.background import Background
from src.run.choice import candidates, first_whole, local_path
from src.run.environment import versions
from src.run.manifest import Manifest, finite_scores
from src.run.ranks import Ranks
from src.run.reading import Place, read_checkpoint
from src.run.retention import LAST_NAME, make_room, point_names, prune, remove_step
from src.run.state_file import freeze, plain_data, write_state
from src.run.status import now


class VerifiedCheckpointIO(CheckpointIO):
    """Saves `checkpoints/step-00001234/state.ckpt`: temporary file, fsync, rename, manifest, names, pruning.

    monitor, mode (min or max): the score that decides which checkpoint is the best.
    config_sha256: of the configuration, for the manifest. keep_last: newest checkpoints to keep, at least 2, because
    the newest may be found damaged. asynchronous: copy the state to memory and write it in a thread, one at a time;
    call `check` at every step, and `wait` before anything reads the files and before the process ends.
    """

    def __init__(
        self,
        *,
        monitor: str = "val/loss",
        mode: str = "min",
        config_sha256: str = "",
        keep_last: int = 2,
        asynchronous: bool = False,
    ) -> None:
        if mode not in ("min", "max"):
            raise UserError(f"mode ({mode!r}) must be min or max.")
        if keep_last < 2:
            raise UserError(
                f"keep_last ({keep_last}) must be 2 or more, so that a damaged checkpoint has a previous one."
            )
        self.monitor, self.mode = monitor, mode
        self.config_sha256, self.keep_last = config_sha256, keep_last
        self.asynchronous = asynchronous

        self._background = Background()
        self._ranks: Ranks | None = None

    def check(self) -> None:
        """Raise what went wrong in a write that has ended since; does not wait."""
        self._background.check()

    def wait(self) -> None:
        """Return when no write is in flight any more; raises what went wrong in it."""
        self._background.wait()

    def teardown(self) -> None:
        """Lightning calls it at the end."""
        try:
            self.wait()
        finally:
            if self._ranks is not None:
                self._ranks.close()
            self._ranks = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: dict[str, Any] | None = None
    ) -> None:
        """Save and commit. storage_options: optional `scores` (metric name to number) and `data` (fingerprint)."""
        facts = self.facts(checkpoint, storage_options)
        path = local_path(path)
        self.wait()
        make_room(path.parent)
        produce = plain_data(checkpoint)
        if self.asynchronous:
            produce = freeze(produce)

        def write() -> None:
            sha256, size = write_state(produce, path)
            self.commit(Manifest(path=path, sha256=sha256, bytes=size, **facts))

        self.run(write)

    def facts(self, checkpoint: dict[str, Any], storage_options: dict[str, Any] | None) -> dict[str, Any]:
        """What a manifest says besides the files; raises TypeError for a storage option that is none."""
        options = dict(storage_options or {})
        scores, data = options.pop("scores", {}), options.pop("data", {})
        if options:
            raise TypeError(f"storage_options holds {sorted(options)}; known are scores and data")
        return {
            "step": int(checkpoint.get("global_step", 0)),
            "epoch": int(checkpoint.get("epoch", 0)),
            "monitor": self.monitor,
            "mode": self.mode,
            "scores": finite_scores(scores),
            "config_sha256": self.config_sha256,
            "data": data,
            "versions": versions(),
            "time": now(),
        }

    def run(self, write: Callable[[], object]) -> None:
        """Write now, or in the thread."""
        if self.asynchronous:
            self._background.start(write)
        else:
            write()

    def commit(self, manifest: Manifest) -> None:
        """From here on the checkpoint counts; only now may an older one go."""
        manifest.commit()
        checkpoints = manifest.path.parent.parent
        point_names(checkpoints)
        prune(checkpoints, keep_last=self.keep_last)

    def ranks(self) -> Ranks:
        """All ranks of the job, for saves they make together; the first call is collective."""
        if self._ranks is None:
            self._ranks = Ranks()
        return self._ranks

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
        folder = local_path(path).parent
        if folder.is_dir():
            remove_step(folder)


def load_verified(path: str | os.PathLike[str], *, map_location: Place = "cpu") -> dict[str, Any]:
    """The state in `path`, after its hashes were compared with its manifest; raises UserError naming the file.

    `.../best.ckpt` means the best committed checkpoint, `.../last.ckpt` the newest one that is not damaged. One that
    was saved in shards comes as one process would have saved it, on the CPU.
    """
    path = local_path(path)
    return first_whole(path, candidates(path), lambda manifest: read_checkpoint(manifest, map_location=map_location))


def load_latest(checkpoints: Path, *, map_location: Place = "cpu") -> dict[str, Any]:
    """The newest committed state whose hash is right; says in one line when that is not the newest of all.

    Raises UserError if there is none: a caller that wants to start anew asks `find_last` first.
    """
    return load_verified(checkpoints / LAST_NAME, map_location=map_location)
