"""A rank says that it lives and how far it is, and of several that wait the one they wait for is found."""

import time
from dataclasses import replace

import pytest

from src.run.heartbeat import Beat, Heartbeat, Outcome, find_hung, read_beats

NOW = 1000.0


def beat(rank, *, age=0.0, marks=5, still=0.0, ended=False):
    """`age` seconds since its last sign of life, `still` since its last step forward."""
    outcome = Outcome(at=NOW, exit_code=0) if ended else None
    return Beat(rank=rank, pid=rank, at=NOW - age, marks=marks, moved=NOW - still, outcome=outcome)


@pytest.mark.parametrize(
    ("beats", "hung"),
    [
        ([beat(0), beat(1)], None),
        ([beat(0), beat(1, age=21)], 1),  # stopped
        ([beat(0, marks=6, still=30), beat(1, marks=5, still=31)], 1),  # asleep, while rank 0 waits for it
        ([beat(0, marks=6, still=30), beat(1, marks=5, still=19)], None),  # late, but not yet too late
        ([beat(0, still=300), beat(1, still=300)], None),  # both compile
        ([beat(0, marks=6, still=30, ended=True), beat(1, marks=5)], None),
        ([beat(0, marks=9, ended=True), beat(1, marks=5, still=30)], 1),
        ([beat(0, age=40, ended=True), beat(1)], None),  # whoever has ended is silent
    ],
)
def test_the_rank_that_the_others_wait_for_is_found(beats, hung):
    found = find_hung({each.rank: each for each in beats}, now=NOW, timeout=20)
    assert (None if found is None else found.rank) == hung


def test_a_heart_beats_by_itself_and_says_where_the_main_thread_stands(tmp_path):
    with Heartbeat(tmp_path / "rank-3.json", rank=3, interval=0.02) as heart:
        heart.mark("batch 7")
        time.sleep(0.2)
        here = read_beats(tmp_path)[3]
        assert (here.marks, here.place, here.outcome) == (1, "batch 7", None)
        assert here.at - here.moved > 0.05
        assert __file__ in here.line
        outcome = Outcome(at=time.time(), exit_code=2, sentence="no")
        heart.end(outcome)
        time.sleep(0.1)
    assert read_beats(tmp_path)[3] == replace(read_beats(tmp_path)[3], outcome=outcome)


def test_a_disk_that_is_full_or_gone_does_not_end_a_rank(tmp_path):
    with Heartbeat(tmp_path / "missing" / "rank-0.json", rank=0, interval=0.01) as heart:
        time.sleep(0.05)
        heart.mark("on")
        assert heart._thread.is_alive()
