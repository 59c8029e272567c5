"""A search whose driver and jobs are killed ends as one left alone; the long version is `python -m tests.sweep`."""

import pytest

from src.sweep.journal import read_jobs
from tests.forked import start
from tests.sweep import check, search

PRUNED = ["hydra/sweeper/pruner=median", "hydra.sweeper.pruner.startup=1", "hydra.sweeper.pruner.warmup=0"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder of both searches, and what happened."""
    folder = tmp_path_factory.mktemp("searched")
    return folder, search(folder, *PRUNED, begin=start, trials=4, kills=2, seed=1)


def test_a_search_that_is_killed_and_resumed_loses_nothing_and_repeats_nothing(searched):
    """Points, values, reports to the pruner, states: in the study, in jobs.jsonl, in the folders, in summary.csv."""
    folder, tally = searched
    assert tally.problems == []
    assert len(tally.kills) == 2
    assert {record.state for record in read_jobs(folder / "killed").values()} == {"finished", "pruned"}


def test_the_comparison_finds_a_value_and_a_point_that_differ(searched):
    folder, _ = searched
    jobs = folder / "alone" / "jobs.jsonl"
    text = jobs.read_text()
    jobs.write_text(text.replace("optimizer.lr=0.00", "optimizer.lr=0.0").replace('"values": [0.', '"values": [1.'))
    try:
        found = " ".join(check(folder / "alone", folder / "killed", trials=4))
    finally:
        jobs.write_text(text)
    assert "overrides" in found
    assert "values" in found
    assert "folders" in " ".join(check(folder / "alone", folder / "killed", trials=5))
