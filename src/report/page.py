"""The report of one run: a single page without scripts, links or network, made from the files of its folder."""

from pathlib import Path

from src.report.classification import classification_section
from src.report.facts import ledger_section, record_section, result_section, state_section
from src.report.learning import learning_section
from src.report.markup import escape
from src.report.read import RunFiles, read_files
from src.run.files import write_text

REPORT_NAME = "report.html"
# Even if a text slipped through unescaped, a browser would neither run nor load anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_SECTIONS = (
    state_section,
    result_section,
    learning_section,
    classification_section,
    ledger_section,
    record_section,
)


def write_report(run_folder: Path) -> Path:
    """Write report.html into `run_folder` and return its path; raises UserError if that is no run folder.

    Call it after the status was closed, or the page says that the run is not over.
    """
    path = Path(run_folder) / REPORT_NAME
    write_text(path, render(read_files(Path(run_folder))))
    return path


def render(files: RunFiles) -> str:
    """The page as text."""
    name = escape(files.path.resolve().name)
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    body = "\n".join(part for make in _SECTIONS if (part := make(files)))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{name}</h1></header>
<main>
{body}
</main>
</body>
</html>
"""
