"""One job of a sweep: `python -m src.launch.job <run folder>` trains what the folder says, or goes on where it stands.

The driver adds `driver=<its process>`, and the job dies with that. By itself the command redoes a single job.
"""

import shlex
import sys
from pathlib import Path
from typing import NoReturn

from src.check.targets import check_targets
from src.errors import UserError
from src.launch import resuming
from src.launch.door import close
from src.launch.environment import die_with
from src.launch.joining import moved
from src.run.folder import RunFolder
from src.run.index import read_config
from src.run.signals import Signals, listen


def main(arguments: list[str]) -> NoReturn:
    """Exit as `python -m src.train` does."""
    try:
        with listen() as signals:
            folder, driver = parse(arguments)
            if driver is not None:
                die_with(driver)
            train(RunFolder(folder), signals)
    except BaseException as error:
        close(error, config_name="train")
    sys.exit(0)


def parse(arguments: list[str]) -> tuple[Path, int | None]:
    """The run folder and the driver's process.

    Raises:
        UserError: other arguments.
    """
    folders = [argument for argument in arguments if not argument.startswith("driver=")]
    drivers = [argument.removeprefix("driver=") for argument in arguments if argument not in folders]
    if len(folders) != 1 or not all(driver.isdecimal() for driver in drivers):
        raise UserError("Give one run folder: python -m src.launch.job <run folder>.")
    return Path(folders[0]).absolute(), int(drivers[-1]) if drivers else None


def train(run: RunFolder, signals: Signals) -> None:
    """From the frozen config alone.

    Raises:
        UserError: the folder is no frozen job, or in use.
    """
    saved = read_config(run.path)
    if not saved:
        raise UserError(f"The run folder ({run.path}) has no config.yaml; python -m src.train -m writes it.")
    check_targets(saved)
    command = shlex.split(run.command.read_text(encoding="utf-8"))
    opened = resuming.open(moved(saved, saved["paths"]["run_dir"], str(run.path)), run.path)
    from src.launch.training import conclude, train_run

    if not opened.finished:
        train_run(opened.config, opened.run, signals=signals, command=command)
    elif not opened.run.report.exists():
        conclude(opened.run)


if __name__ == "__main__":
    main(sys.argv[1:])
