"""docs/strategies.md says of every strategy what the checks say."""

import re

import pytest

from src.launch.compose import CONFIG_FOLDER
from tests.matrix import COLUMNS, PAGE, cells


@pytest.fixture(scope="module")
def table():
    """(strategy, column) to the text of its cell, and the sentences by number."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    strategies = [re.search(r"`(\w+)`", name)[1] for name in head[1:]]
    sentences = dict(re.fullmatch(r"(\d+)\. (.+)", line).groups() for line in lines if re.match(r"\d+\. ", line))
    return {(name, row[0]): cell for row in rows for name, cell in zip(strategies, row[1:], strict=True)}, sentences


def test_every_strategy_stands_in_the_matrix_under_every_column(table):
    names = {file.stem for file in (CONFIG_FOLDER / "strategy").glob("*.yaml")}
    assert set(table[0]) == {(name, column) for name in names for column in COLUMNS}


def test_a_cell_is_refused_with_the_sentence_of_the_checks_and_no_other_is(table):
    found, sentences = table
    for cell in cells():
        text = found[cell.strategy, cell.column]
        number = re.fullmatch(r"no \((\d+)\)", text)
        assert (sentences[number[1]] if number else None) == cell.refusal, (cell.strategy, cell.column)


def test_every_cell_that_was_run_came_out_as_in_one_process(table):
    assert [place for place, text in table[0].items() if "differs" in text] == []
