"""Write pages again, or of several runs together.

  python -m src.report RUN              <run>/report.html
  python -m src.report SWEEP            <sweep>/report.html
  python -m src.report RUN RUN ...      one page that compares them, in outputs/reports/

to=FILE writes the page there.

RUN and SWEEP are folders, or names below root= (outputs) or their ends.
"""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from src.errors import UserError
from src.report.comparison import write_comparison
from src.report.run import write_report
from src.report.sweep import write_sweep_report
from src.run.files import short_id
from src.run.index import find_run
from src.runs.sweeps import find_sweeps
from src.runs.words import folder, read_words, text
from src.sweep.journal import SWEEP


def main(typed: Sequence[str]) -> int:
    """Write one page and print where; 2 where what was typed is wrong."""
    if not typed or {"-h", "--help"} & set(typed):
        print(__doc__, file=sys.stdout if typed else sys.stderr)
        return 0 if typed else UserError.exit_code
    try:
        print(write(typed))
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(
            f"{error.filename} cannot be written ({error.strerror}); to=FILE names another place for the page.",
            file=sys.stderr,
        )
        return UserError.exit_code
    return 0


def write(typed: Sequence[str]) -> Path:
    """The page that these words ask for; raises UserError for names of none or several, and words of no meaning."""
    words = read_words(typed, options={"to": text, "root": folder}, names=["RUN..."])
    root = words.options.get("root", Path("outputs"))
    sweeps = [find_sweep(name, root=root) for name in words.names]
    page = destination(words.options["to"]) if "to" in words.options else None
    if len(words.names) == 1:
        if sweeps[0]:
            return write_sweep_report(sweeps[0], page)
        return write_report(find_run(words.names[0], root=root).path, page)
    for name, sweep in zip(words.names, sweeps, strict=True):
        if sweep:
            raise UserError(f"{name} is a sweep, which has a page of its own; its jobs are runs too: {sweep}/0.")
    folders = [find_run(name, root=root).path for name in words.names]
    for name, path in zip(words.names, folders, strict=True):
        if sum(path.resolve() == other.resolve() for other in folders) > 1:
            raise UserError(f"{name} is given twice, {path}. Name different runs.")
    new = root / "reports" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{short_id()}.html"
    return write_comparison(folders, page or new)


def destination(typed: str) -> Path:
    """The file that to= names; raises UserError for a folder."""
    if Path(typed).is_dir() or not typed.endswith(".html"):
        raise UserError(f"to ({typed}) must be a file that ends in .html.")
    return Path(typed)


def find_sweep(name: str, *, root: Path) -> Path | None:
    """The sweep of a folder, or of the only name below root that is or ends with it; None if it is none."""
    if (Path(name) / SWEEP).is_file():
        return Path(name)
    if (Path(name) / "status.json").is_file():
        return None
    found = [sweep for sweep in find_sweeps(root) if name and sweep.name.endswith(name)]
    if len(found) > 1:
        raise UserError(f"{name} fits {len(found)} sweeps: {', '.join(map(str, found[:5]))}. Give the path of one.")
    return found[0] if found else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
