"""The loop hands out every job once, survives every end, and tells the truth about it; the pool here is a script."""

import json
import signal

import pytest

from src.errors import RankFailed, UserError
from src.launch.sweeping import loop as module
from src.launch.sweeping.loop import Loop
from src.launch.sweeping.sources import Asked, GridSource
from src.run.signals import Interrupted, Signals
from src.sweep.jobs import Ending, Job
from src.sweep.journal import read_jobs

GOOD = Ending(state="finished", exit_code=0)


class Script:
    """A pool in which each job ends as written for it, in the order in which they were started."""

    def __init__(self, endings, *, parallel=2, goes_on=False):
        self.endings, self.parallel, self.goes_on = endings, parallel, goes_on
        self.running, self.started, self.most, self.closed, self.signals = [], [], 0, False, []

    def room(self):
        return len(self.running) < self.parallel

    def start(self, job):
        if self.endings.get(job.number) == "refused":
            raise UserError("sbatch refused the job.")
        self.running.append(job)
        self.started.append(job.number)
        self.most = max(self.most, len(self.running))

    def ended(self, *, seconds):
        job = self.running.pop(0)
        ending = self.endings.get(job.number, GOOD)
        if callable(ending):
            ending = ending()
        return [(job, ending)]

    def stop(self, received):
        self.signals.append(received)
        return not self.goes_on

    def close(self):
        self.closed = True


@pytest.fixture
def written(monkeypatch):
    """Which results were written, in their order."""
    calls = []
    monkeypatch.setattr(module.results, "update", lambda sweep: calls.append("update"))
    monkeypatch.setattr(module.results, "conclude", lambda sweep: calls.append("conclude"))
    return calls


def jobs(sweep, count):
    for number in range(count):
        folder = sweep / str(number)
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps({"val/loss": number / 10}))
        yield Asked(Job(number=number, folder=folder, overrides=(f"seed={number}",)))


def loop(sweep, pool, *, count=5, max_failures=None, signals=None):
    source = GridSource(jobs(sweep, count), total=count, objectives={"val/loss": "minimize"})
    signals = signals or Signals(insist=False)
    return Loop(sweep, source, pool, signals=signals, objectives=["val/loss"], max_failures=max_failures)


def failing(code, state="failed"):
    return Ending(state=state, exit_code=code, reason=f"ended with {code}")


def test_every_job_runs_once_and_never_more_at_once_than_there_is_room(tmp_path, written, capsys):
    pool = Script({})
    loop(tmp_path, pool).run()
    assert (pool.started, pool.most, pool.closed) == ([0, 1, 2, 3, 4], 2, True)
    assert [(job.state, job.values) for job in read_jobs(tmp_path).values()] == [
        ("finished", (number / 10,)) for number in range(5)
    ]
    assert written == ["update"] * 5 + ["conclude"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "job 0 of 5 started: seed=0"
    assert lines[-1].startswith("job 4 of 5 finished: val/loss 0.4000 (seed=4) ")


def test_jobs_that_fail_in_any_way_end_no_sweep_and_its_code_is_that_of_the_first(tmp_path, written, capsys):
    endings = {0: failing(3), 1: failing(137, "killed"), 2: "refused", 3: failing(4)}
    pool = Script(endings, parallel=1)
    with pytest.raises(RankFailed, match=r"4 of 5 jobs did not finish; the first was job 0 \(seed=0\): ended with 3"):
        loop(tmp_path, pool).run()
    assert pool.started == [0, 1, 3, 4]
    records = read_jobs(tmp_path)
    assert [record.exit_code for record in records.values()] == [3, 137, 2, 4, 0]
    assert records[2].reason == "sbatch refused the job."
    assert "job 1 of 5 killed with exit code 137: ended with 137 (seed=1)" in capsys.readouterr().err


@pytest.mark.parametrize(("allowed", "started"), [(0, [0, 1, 2]), (1, [0, 1, 2, 3]), (2, [0, 1, 2, 3, 4])])
def test_after_more_failures_than_allowed_no_job_is_started(tmp_path, written, allowed, started):
    """Jobs 1, 2 and 3 fail, two at once; a job that was told to leave is no failure."""
    endings = {0: failing(143, "killed")} | {number: failing(1) for number in (1, 2, 3)}
    pool = Script(endings)
    with pytest.raises(RankFailed) as caught:
        loop(tmp_path, pool, max_failures=allowed).run()
    assert pool.started == started
    words = "no more were started; hydra.sweeper.max_failures=null starts them all"
    assert (words in str(caught.value)) == (allowed < 3)
    assert pool.running == []


def test_a_failure_whose_retry_finished_is_none_and_those_before_a_retry_do_not_count_as_new(tmp_path, written):
    with pytest.raises(RankFailed):
        loop(tmp_path, Script({0: failing(1), 1: failing(1)}), count=2, max_failures=1).run()
    todo = [
        Asked(Job(number=number, folder=tmp_path / str(place), overrides=(f"seed={place}",)))
        for number, place in ((2, 0), (3, 1))
    ]
    source = GridSource(iter(todo), total=4, objectives={"val/loss": "minimize"})
    pool = Script({})
    Loop(tmp_path, source, pool, signals=Signals(insist=False), objectives=["val/loss"], max_failures=0).run()
    assert pool.started == [2, 3]


def test_a_signal_is_passed_on_once_and_no_job_is_started_after_it(tmp_path, written):
    signals = Signals(insist=False)

    def asked():
        signals.note(signal.SIGINT, None)
        return failing(130, "killed")

    pool = Script({0: asked, 1: failing(130, "killed")})
    with pytest.raises(Interrupted):
        loop(tmp_path, pool, signals=signals).run()
    assert (pool.started, pool.signals) == ([0, 1], [signal.SIGINT])
    assert [job.exit_code for job in read_jobs(tmp_path).values()] == [130, 130]
    assert written[-1] == "conclude"


def test_jobs_of_a_cluster_go_on_without_their_driver(tmp_path, written):
    signals = Signals(insist=False)

    def asked():
        signals.note(signal.SIGINT, None)
        return GOOD

    pool = Script({0: asked}, goes_on=True)
    with pytest.raises(Interrupted):
        loop(tmp_path, pool, signals=signals).run()
    assert [job.state for job in read_jobs(tmp_path).values()] == ["finished", "running"]


def test_a_job_that_ended_unseen_is_told_and_not_started(tmp_path, written):
    asked = [Asked(job, GOOD if job.number == 1 else None) for job, _ in jobs(tmp_path, 3)]
    pool = Script({})
    source = GridSource(asked, total=3, objectives={"val/loss": "minimize"})
    Loop(tmp_path, source, pool, signals=Signals(insist=False), objectives=["val/loss"], max_failures=None).run()
    assert pool.started == [0, 2]
    assert [job.state for job in read_jobs(tmp_path).values()] == ["finished"] * 3


def test_a_driver_that_fails_itself_leaves_nothing_running(tmp_path, written):
    def bug():
        raise ZeroDivisionError

    pool = Script({0: bug})
    with pytest.raises(ZeroDivisionError):
        loop(tmp_path, pool).run()
    assert pool.closed
    assert written[-1] == "conclude"
