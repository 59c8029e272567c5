"""The report of one run, made from the files of its folder."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from src.report.classification import classification_section
from src.report.facts import header, ledger_section, result_section, state_section
from src.report.learning import learning_section
from src.report.mistakes import mistakes_section
from src.report.page import page
from src.report.read import RunFiles, read_files
from src.report.record import record_section
from src.report.samples import samples_section
from src.report.steps import steps_section
from src.run.files import write_text

REPORT_NAME = "report.html"
_SECTIONS = (
    state_section,
    result_section,
    learning_section,
    classification_section,
    mistakes_section,
    samples_section,
    steps_section,
    ledger_section,
    record_section,
)


def write_report(run_folder: Path, path: Path | None = None) -> Path:
    """Write the page of a run and return its path; raises UserError if that is no run folder.

    path: where to, report.html in `run_folder` if it is not given. Call it after the status was closed, or the page
    says that the run is not over.
    """
    path = path or Path(run_folder) / REPORT_NAME
    text = render(read_files(Path(run_folder)))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


@contextmanager
def reported_if_failed(run_folder: Path) -> Iterator[None]:
    """Write the report of a run that the block leaves with an exception, which passes on; put it around `recording`.

    That of an earlier attempt goes first: a finished run that has a report has nothing left to be done.
    """
    (Path(run_folder) / REPORT_NAME).unlink(missing_ok=True)
    try:
        yield
    except BaseException:
        try:
            write_report(run_folder)
        except Exception as problem:  # a full disk must not hide why the run failed
            print(f"Note: {Path(run_folder) / REPORT_NAME} could not be written ({problem}).", file=sys.stderr)
        raise


def render(files: RunFiles) -> str:
    """The page as text."""
    return page(files.path.resolve().name, [make(files) for make in _SECTIONS], header=header(files))
