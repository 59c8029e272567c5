"""metrics.csv against the rows that were logged, through kills and resumes."""

import csv

import pytest

from src.logger.csv import MetricsFile


def rows(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def log(folder, *logged):
    logger = MetricsFile(folder=str(folder))
    for step, metrics in logged:
        logger.log_metrics(metrics, step=step)
    return logger


def test_rows_of_different_columns_share_one_header(tmp_path):
    log(tmp_path, (0, {"b": 1.5}), (1, {"a": 2.0, "c": 3}), (1, {"b": 0.25}))
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == "a,b,c,step"
    assert rows(tmp_path) == [
        {"b": "1.5", "step": "0"},
        {"a": "2.0", "c": "3", "step": "1"},
        {"b": "0.25", "step": "1"},
    ]


def test_a_second_process_goes_on_in_the_same_file(tmp_path):
    log(tmp_path, (0, {"a": 1.0}), (1, {"a": 2.0, "b": 1.0}))
    log(tmp_path, (2, {"a": 3.0}), (3, {"c": 4.0}))
    assert [row["step"] for row in rows(tmp_path)] == ["0", "1", "2", "3"]
    assert rows(tmp_path)[3] == {"c": "4.0", "step": "3"}


def test_a_cut_leaves_the_steps_before_it_and_no_test(tmp_path):
    log(tmp_path, (0, {"a": 1.0}), (4, {"val/loss": 2.0}), (5, {"a": 3.0}), (3, {"test/loss": 1.0}))
    logger = MetricsFile(folder=str(tmp_path))
    logger.cut(step=5)
    logger.log_metrics({"a": 7.0}, step=5)
    assert [(row["step"], row.get("a")) for row in rows(tmp_path)] == [("0", "1.0"), ("4", None), ("5", "7.0")]


@pytest.mark.parametrize("left", range(1, len("2.5,1\n") + 1))
def test_a_line_cut_short_is_forgotten(tmp_path, left):
    """As a power cut leaves it; a kill does not."""
    log(tmp_path, (0, {"a": 1.0}), (1, {"a": 2.5}))
    path = tmp_path / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-left])
    logger = MetricsFile(folder=str(tmp_path))
    logger.cut(step=9)
    logger.log_metrics({"a": 4.0}, step=2)
    assert rows(tmp_path) == [{"a": "1.0", "step": "0"}, {"a": "4.0", "step": "2"}]


def test_a_cut_of_nothing_makes_no_file(tmp_path):
    MetricsFile(folder=str(tmp_path)).cut(step=0)
    assert list(tmp_path.iterdir()) == []
