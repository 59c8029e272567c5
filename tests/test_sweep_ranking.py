"""The ranking of a sweep against slow, plain computations."""

import itertools
import json
import random
import statistics

import numpy as np
import pytest

from src.sweep.ranking import note, pareto_front, rank, ranking_lines, spread
from tests.many_runs import GRID, make_sweep

AXES = {"optimizer.lr": ["0.1", "1"], "seed": ["1", "2", "3"]}


def journal(sweep, change):
    """Let `change` edit each line of jobs.jsonl."""
    lines = [json.loads(line) for line in (sweep / "jobs.jsonl").read_text().splitlines()]
    (sweep / "jobs.jsonl").write_text("".join(json.dumps({**line, **change(line)}) + "\n" for line in lines))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_groups_are_what_statistics_says(tmp_path, direction):
    """Mean and standard deviation (n - 1) of jobs with equal settings but the seed, sorted by the mean."""
    draw = random.Random(5)
    values = [[draw.uniform(0.3, 0.9)] for _ in range(12)]
    sweep = make_sweep(tmp_path / "sweep", objectives={"val/loss": direction}, results=values)
    by_hand = []
    for lr, pooling in itertools.product(GRID["optimizer.lr"], GRID["model.pooling"]):
        place = 2 * len(by_hand)
        pair = [values[place][0], values[place + 1][0]]
        by_hand.append((statistics.mean(pair), statistics.stdev(pair), {"optimizer.lr": lr, "model.pooling": pooling}))
    by_hand.sort(key=lambda group: group[0], reverse=direction == "maximize")
    found = rank(sweep).groups
    assert [group.params for group in found] == [params for _, _, params in by_hand]
    assert [group.mean[0] for group in found] == pytest.approx([mean for mean, _, _ in by_hand], abs=1e-15)
    assert [group.std[0] for group in found] == pytest.approx([std for _, std, _ in by_hand], abs=1e-15)
    assert [group.rank for group in found] == [1, 2, 3, 4, 5, 6]
    assert [group.front for group in found] == [True] + [False] * 5
    assert rank(sweep).best is found[0] or rank(sweep).best.params == found[0].params


def test_equal_means_share_a_rank(tmp_path):
    """1, 1, 3; the earlier job stands first."""
    sweep = make_sweep(tmp_path / "sweep", {"a": ["x", "y", "z"]}, results=[[0.5], [0.4], [0.4]])
    assert [(group.params["a"], group.rank) for group in rank(sweep).groups] == [("y", 1), ("z", 1), ("x", 3)]


def test_a_failed_seed_is_counted_and_marked_and_never_a_value(tmp_path):
    """The mean is of the others; a group without any value has no rank and stands last."""
    values = [[0.5], [0.3], [0.1], [0.2], [0.2], [0.2]]
    sweep = make_sweep(tmp_path / "sweep", AXES, results=values, fails=(0, 3, 4, 5))
    first, last = rank(sweep).groups
    assert (first.n, first.failed, first.mean, note(first)) == (2, 1, (0.2,), "1 failed")
    assert (last.n, last.failed, last.rank, last.mean, last.std, spread(last, 0)) == (0, 3, None, (), (), "-")
    lines = ranking_lines(rank(sweep))
    assert lines[1].split() == ["1", "0.2000", "±", "0.1414", "2", "0.1", "0,1,2", "1", "failed"]
    assert lines[2].split() == ["-", "-", "0", "1", "3,4,5", "3", "failed"]


def test_the_best_is_a_whole_group_if_there_is_one(tmp_path):
    """One lucky seed of three does not win; if every group lost one, the first does."""
    values = [[0.5], [0.3], [0.1], [0.4], [0.4], [0.4]]
    sweep = make_sweep(tmp_path / "a", AXES, results=values, fails=(0,))
    assert rank(sweep).groups[0].params == {"optimizer.lr": "0.1"}
    assert rank(sweep).best.params == {"optimizer.lr": "1"}
    sweep = make_sweep(tmp_path / "b", AXES, results=values, fails=(0, 5))
    assert rank(sweep).best.params == {"optimizer.lr": "0.1"}


def test_a_failed_job_that_was_tried_again_is_no_failure(tmp_path):
    """hydra.sweeper.retry_failed makes a new job with the same settings in a search."""
    sweep = make_sweep(tmp_path / "sweep", {"a": ["x"]}, jobs=[{"a": "x"}, {"a": "x"}], results=[[1], [2]], fails=(0,))
    (group,) = rank(sweep).groups
    assert (group.n, group.failed, len(group.jobs)) == (1, 0, 2)


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [("killed", 137, (1, 0, 0)), ("killed", 143, (0, 0, 1)), ("killed", 130, (0, 0, 1)), ("pruned", 0, (0, 1, 0))],
)
def test_pruned_stopped_and_killed_jobs_are_different_things(tmp_path, state, code, expected):
    """What was stopped by a signal will go on; what was pruned did what it was asked."""
    sweep = make_sweep(tmp_path / "sweep", AXES)
    journal(
        sweep,
        lambda line: (
            {"state": state, "exit_code": code, "values": None} if line["job"] == 0 and "state" in line else {}
        ),
    )
    group = next(group for group in rank(sweep).groups if group.params == {"optimizer.lr": "0.1"})
    assert (group.failed, group.pruned, group.open) == expected
    assert group.n == 2


def test_losses_that_are_far_too_large_are_still_ranked(tmp_path):
    """Their squares are beyond all numbers; no warning, no error, the finite mean decides."""
    sweep = make_sweep(tmp_path / "sweep", AXES, results=[[1e200], [2e200], [3e200], [0.1], [0.2], [0.3]])
    first, second = rank(sweep).groups
    assert first.params == {"optimizer.lr": "1"}
    assert second.mean == (2e200,)
    assert ranking_lines(rank(sweep))[2].split()[1:4] == ["2.000e+200", "±", "inf"]


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_two_loops_find(seed):
    """Equal rows do not beat each other."""
    costs = np.random.default_rng(seed).integers(0, 4, size=(12, 3))

    def beats(a, b):
        return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))

    expected = [not any(beats(other, row) for other in costs) for row in costs]
    assert pareto_front(costs).tolist() == expected


def test_several_objectives_have_a_front_and_no_ranks(tmp_path):
    """The front first, by its first objective; directions count."""
    results = [[0.9, 30], [0.8, 10], [0.7, 20], [0.8, 20]]
    axes, objectives = {"a": ["w", "x", "y", "z"]}, {"val/f1": "maximize", "parameters": "minimize"}
    ranking = rank(make_sweep(tmp_path / "sweep", axes, objectives=objectives, results=results))
    found = [(group.params["a"], group.front, group.rank) for group in ranking.groups]
    assert found == [("w", True, None), ("x", True, None), ("z", False, None), ("y", False, None)]
    lines = ranking_lines(ranking)
    assert lines[0].split() == ["front", "val/f1", "parameters", "n", "a", "jobs"]
    assert [line.split()[0] for line in lines[1:]] == ["yes", "yes", "0.8000", "0.7000"]


def test_a_sweep_over_seeds_alone_is_one_group(tmp_path):
    """And a sweep without jobs says so."""
    sweep = make_sweep(tmp_path / "sweep", {"seed": ["1", "2", "3"]}, results=[[1], [2], [3]])
    (group,) = rank(sweep).groups
    assert (group.params, group.mean, group.std) == ({}, (2.0,), (1.0,))
    (sweep / "jobs.jsonl").unlink()
    assert rank(sweep).best is None
    assert ranking_lines(rank(sweep)) == ["No job has been started."]


def test_the_terminal_shows_the_first_ten(tmp_path):
    """The others are in the table."""
    sweep = make_sweep(tmp_path / "sweep", {"a": [str(n) for n in range(14)]})
    lines = ranking_lines(rank(sweep))
    assert len(lines) == 12
    assert lines[-1] == f"4 more in {sweep / 'summary.csv'}"
