"""Every notebook runs from top to bottom, its assertions hold, and it is kept without outputs."""

import ast
import itertools
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CELLS = 25


def read(path):
    return nbformat.read(path, as_version=4)


def code(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_assertions_hold(path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = read(path)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(FOLDER)}}).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    )
    assert " = " in printed or "largest difference" in printed, "no check of chapter.py has printed its result"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_a_page_of_paragraphs_and_cells_without_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert len(notebook.cells) <= CELLS
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    for cell in code(path):
        assert not cell.outputs
        assert cell.execution_count is None
        ast.parse(cell.source)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert ("code", "code") not in list(itertools.pairwise(kinds)), "a cell without a paragraph before it"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_goes_through_the_project_and_not_only_by_hand(path):
    assert any(
        "from src" in cell.source or "import src" in cell.source or "chapter.train" in cell.source
        for cell in code(path)
    )
