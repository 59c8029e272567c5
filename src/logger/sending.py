"""Sends a record to W&B: `python -m src.logger.sending <run folder> online|offline`.

It follows the record while the run trains, and ends with its end, or when its standard input closes: then the training
is gone, or there was none (`python -m src.runs sync`). W&B knows a row by its step and ignores one that it has, so a
record is always sent from its first line.
"""

import os
import select
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from src.logger.media import tables_of
from src.logger.record import ARTIFACT, END, FOLDER, HISTORY, RECORD, RUN, SENT, SUMMARY, TABLE, Event, parse
from src.logger.worker import later
from src.run.files import write_json

INIT_TIMEOUT = 20.0  # seconds that wandb may take to reach its server
LEAVE = 60  # seconds to finish in, once the training was killed
LOOK = 0.5  # seconds between two looks at a record that grows


def main(arguments: list[str]) -> int:
    """0 when all was sent; otherwise it has said why."""
    run, mode = Path(arguments[0]), arguments[1]
    for number in (signal.SIGINT, signal.SIGTERM):  # what ends the training leaves it time to tell the end
        signal.signal(number, signal.SIG_IGN)
    terminal = quieten(run / FOLDER / "sending.log")
    try:
        url = send(run, mode=mode)
    except Exception as error:  # whatever wandb raises is one sentence
        words = (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")
        print(f"W&B: {type(error).__name__}: {words}. {later(run)}", file=terminal, flush=True)
        os._exit(1)  # wandb's own end would wait for a server that is not there
    if url:
        print(f"W&B         {url}", file=terminal, flush=True)
    return 0


def quieten(log: Path) -> TextIO:
    """Send all that wandb says to a file, if the disk has room for one; returns the terminal."""
    terminal = os.fdopen(os.dup(2), "w")
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(file, b"\n")
    except OSError:
        file = os.open(os.devnull, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    return terminal


def send(run: Path, *, mode: str) -> str | None:
    """Everything up to the end of the record; returns where it can be seen."""
    opened, size, code, parent = None, 0, 1, os.getppid()
    for event, size in follow(run / FOLDER / RECORD):  # noqa: B007
        kind = event["event"]
        if kind == RUN:
            opened = opened or begin(run, event, mode=mode)
            opened.config.update(event["config"], allow_val_change=True)
        elif opened is None:
            raise ValueError("the record has no beginning")
        elif kind == END:
            code = 0
        else:
            tell(opened, run, event)
    if opened is None:
        raise ValueError("the record is empty")
    if os.getppid() != parent:
        signal.alarm(LEAVE)
    url = opened.url if mode == "online" else None
    opened.finish(exit_code=code)
    write_json(run / FOLDER / SENT, {"mode": mode, "bytes": size, "url": url})
    return url


def begin(run: Path, event: Event, *, mode: str) -> Any:
    """The W&B run of a record."""
    import wandb

    if mode == "offline":  # an earlier process left a part of the same record
        for left_over in (run / FOLDER).glob(f"offline-run-*-{event['id']}"):
            shutil.rmtree(left_over)
    known = {name: event[name] for name in ("project", "entity", "id", "name", "group", "job_type", "tags", "notes")}
    settings = wandb.Settings(
        init_timeout=INIT_TIMEOUT,
        console="off",
        silent=True,
        disable_git=True,  # env.json has the commit; the address of a remote may hold a token
        disable_code=True,
        x_disable_meta=True,  # the command line as it was typed
        x_disable_stats=True,
        root_dir=str(run),
    )
    resume = "allow" if mode == "online" else None
    return wandb.init(**known, dir=str(run), mode=mode, resume=resume, settings=settings)  # type: ignore[arg-type]


def tell(opened: Any, run: Path, event: Event) -> None:
    """One event; floats that JSON has not come as words."""
    import wandb

    kind = event["event"]
    if kind == HISTORY:
        opened.log({name: float(value) for name, value in event["values"].items()}, step=event["step"])
    elif kind == SUMMARY:
        opened.summary.update(event["values"])
    elif kind == TABLE and (table := tables_of(run).get(event["name"])) is not None:
        opened.log({event["name"]: wandb.Table(columns=list(table.columns), data=table.rows)}, step=opened.step)
    elif kind == ARTIFACT:
        checkpoint = wandb.Artifact(f"{run.name}-best", type="model")
        checkpoint.add_file(str((run / event["file"]).resolve()), name=Path(event["file"]).name)
        opened.log_artifact(checkpoint)


def follow(path: Path) -> Iterator[tuple[Event, int]]:
    """The events of a record, each with the bytes up to the end of its line, until its end or that of the training."""
    place = 0
    while True:
        closed = closes(LOOK if place else 0.0)  # asked first: what was written last is still read
        with open(path, "rb") as record:
            record.seek(place)
            data = record.read()
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines(keepends=True):
            place += len(line)
            for event in parse(line):
                yield event, place
                if event["event"] == END:
                    return
        if closed:
            return


def closes(seconds: float) -> bool:
    """Wait so long for the end of standard input."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
