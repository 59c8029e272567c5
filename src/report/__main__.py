"""Write the page of a run again: `python -m src.report <run folder> [...]`."""

import sys

from src.errors import UserError
from src.report.page import write_report
from src.run.index import find_run


def main(names: list[str]) -> int:
    """One report.html per run named; 2 when there is none of that name."""
    try:
        if not names:
            raise UserError("Name a run folder: python -m src.report outputs/train/<run>.")
        for name in names:
            print(write_report(find_run(name).path))
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
