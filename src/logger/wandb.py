"""Weights & Biases beside a training: everything goes into the run's own record first, and from there to W&B."""

import importlib.util
import sys
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from src.errors import UserError
from src.logger.media import tables_of
from src.logger.record import ARTIFACT, END, HISTORY, RUN, SUMMARY, TABLE, Record, flatten
from src.logger.worker import Worker
from src.run.files import read_json
from src.run.index import read_config, read_run


class Wandb(Logger):
    """Writes wandb/record.jsonl; a process of its own reads that and talks to W&B.

    So nothing of W&B can stop, slow or block a training: its process may fail, hang or die, and `python -m src.runs
    sync` sends the record later. At the end of a run it gets 30 s to finish.
    """

    def __init__(
        self,
        *,
        folder: str,
        project: str,
        entity: str | None,
        id: str,
        mode: Literal["online", "offline"],
        group: str | None,
        job_type: str,
        tags: list[str],
        artifact: bool,
    ) -> None:
        """Settings as W&B knows them; artifact: also send the best checkpoint.

        Raises:
            UserError: wandb is not installed.
        """
        super().__init__()
        need_wandb()
        self.folder, self.artifact = Path(folder), artifact
        self.run = {
            "project": project, "entity": entity, "id": id, "group": group, "job_type": job_type, "tags": tags
        }  # fmt: skip
        self.record, self.worker = Record(self.folder), Worker(self.folder, mode=mode)
        self.begun = self.broken = False

    @property
    def name(self) -> str:
        """None of its own: the folder names the run."""
        return ""

    @property
    def version(self) -> str:
        """None either."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder, in which Lightning puts what other parts write."""
        return str(self.folder)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's config.yaml says it all, and that is sent."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """One row of the history; `step` counts optimizer steps."""
        if metrics:
            self._begin()
            self._write(HISTORY, step=step, values=dict(metrics))

    @rank_zero_only
    def cut(self, *, step: int) -> None:
        """Forget what was recorded from `step` on; call before the first row."""
        self._guarded(lambda: self.record.cut(step=step))

    @rank_zero_only
    def conclude(self) -> None:
        """Tell what the run folder holds at its end, and wait for W&B within its time."""
        self._begin()
        self._write(SUMMARY, values=read_json(self.folder / "result.json") or {})
        for name, table in tables_of(self.folder).items():
            self._write(TABLE, name=name, file=table.file)
        if self.artifact and (self.folder / "checkpoints" / "best.ckpt").exists():
            self._write(ARTIFACT, file="checkpoints/best.ckpt")
        self._write(END)
        self.worker.stop()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Of a run that failed; one that succeeded has more to tell first, see `conclude`."""
        if status != "success":
            self.worker.stop()

    def _begin(self) -> None:
        """What the run is; the process that sends starts behind it, when the record was cut already."""
        if self.begun:
            return
        self.begun = True
        run = read_run(self.folder)
        command = (self.folder / "command.txt").read_text(encoding="utf-8").strip()
        self._write(RUN, **self.run, name=run.label, notes=command, config=flatten(read_config(self.folder)))
        if not self.broken:
            self.worker.start()

    def _write(self, event: str, **values: Any) -> None:
        self._guarded(lambda: self.record.append(event, **values))

    def _guarded(self, write: Any) -> None:
        """A record that cannot be written costs what W&B would show, and nothing else."""
        if self.broken:
            return
        try:
            write()
        except OSError as error:
            self.broken = True
            print(
                f"W&B: {self.record.path} cannot be written ({error.strerror}); from here on the metrics are in "
                "metrics.csv alone.",
                file=sys.stderr,
                flush=True,
            )


def need_wandb() -> None:
    """Raises UserError if wandb is not installed."""
    if importlib.util.find_spec("wandb") is None:
        raise UserError("logger (wandb) needs the package wandb. Install it with pip install -e '.[wandb]'.")
