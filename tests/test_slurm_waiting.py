"""Waiting for jobs always ends, with each job's own words and exit code."""

import json

import pytest

from src.errors import RankFailed
from src.launch.slurm import commands, waiting
from src.launch.slurm.submission import Job
from src.run.folder import RunFolder
from src.run.heartbeat import Beat, Outcome, write_beat


@pytest.fixture
def queue(monkeypatch):
    """`queue(answers...)`: what Slurm says at each look; the last answer stays."""

    def make(*answers):
        left = list(answers)
        monkeypatch.setattr(commands, "job_states", lambda jobs: left.pop(0) if len(left) > 1 else left[0])

    return make


def submitted(folder, number="17", **status):
    """A job whose run folder says this."""
    run = RunFolder(folder / number)
    run.logs.mkdir(parents=True)
    run.status.write_text(json.dumps(status))
    return Job(number, run)


def ended(*jobs):
    return waiting.wait(jobs, poll_seconds=0.0)


def test_a_finished_job_is_no_failure(queue, tmp_path):
    job = submitted(tmp_path, state="finished", exit_code=0)
    queue({"17": "PENDING"}, {"17": "RUNNING"}, None, {"17": "COMPLETING"}, {"17": "COMPLETED"})
    assert ended(job) == {job: None}


def test_a_job_that_is_requeued_is_waited_for(queue, tmp_path):
    """Between two attempts status.json says killed; only Slurm knows that the job goes on."""
    job = submitted(tmp_path, state="killed", signal="SIGUSR1", exit_code=143)
    looks = []

    def states(jobs):
        looks.append(jobs)
        if len(looks) == 3:
            job.run.status.write_text(json.dumps({"state": "finished"}))
        return {"17": ["RUNNING", "PENDING", "COMPLETED"][min(len(looks), 3) - 1]}

    commands_before = commands.job_states
    commands.job_states = states
    try:
        assert ended(job) == {job: None}
    finally:
        commands.job_states = commands_before


@pytest.mark.parametrize(
    ("status", "state", "code", "words"),
    [
        ({"state": "failed", "reason": "Diverged: loss is nan", "exit_code": 3}, "FAILED", 3, "Diverged: loss is nan"),
        ({"state": "killed", "signal": "SIGTERM", "exit_code": 143}, "CANCELLED", 143, "stopped by SIGTERM"),
        ({"state": "running"}, "FAILED", 1, "ended without a word, FAILED to Slurm; see .*slurm-17.log"),
        ({"state": "running"}, "OUT_OF_MEMORY", 4, "OUT_OF_MEMORY"),
        ({"state": "submitted"}, "CANCELLED", 143, "CANCELLED"),
        ({"state": "running"}, "NODE_FAIL", 1, "NODE_FAIL"),
        ({"state": "finished"}, "FAILED", 1, "finished its run, then ended as FAILED"),
    ],
)
def test_a_failed_job_has_its_own_words_and_exit_code(queue, tmp_path, status, state, code, words):
    job = submitted(tmp_path, **status)
    queue({"17": state})
    failure = ended(job)[job]
    assert isinstance(failure, RankFailed)
    assert failure.exit_code == code
    with pytest.raises(RankFailed, match=words):
        raise failure
    assert json.loads(job.run.status.read_text())["state"] != "running"


def test_a_job_that_slurm_has_forgotten_is_over(queue, tmp_path):
    """Without accounting a job vanishes minutes after its end; to wait for its state would be to wait for ever."""
    good, dead = submitted(tmp_path, "17", state="finished"), submitted(tmp_path, "18", state="running")
    queue({})
    endings = ended(good, dead)
    assert endings[good] is None
    assert "unknown to Slurm" in str(endings[dead])


def test_a_controller_that_never_answers_ends_the_waiting(queue, tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE", -1.0)
    queue(None)
    with pytest.raises(RankFailed, match="has not answered"):
        ended(submitted(tmp_path, state="running"))


def test_the_rank_that_failed_by_itself_is_heard_before_rank_0(queue, tmp_path):
    job = submitted(tmp_path, state="failed", reason="RuntimeError: Connection closed by peer", exit_code=1)
    lost = Outcome(at=1.0, exit_code=1, sentence="Connection closed by peer", lost=True)
    own = Outcome(at=2.0, exit_code=2, sentence="data.path (reviews.csv) is empty.")
    for rank, outcome in enumerate((lost, own)):
        write_beat(job.run.logs / f"rank-{rank}.json", Beat(rank=rank, pid=1, at=2.0, outcome=outcome))
    queue({"17": "FAILED"})
    failure = ended(job)[job]
    assert (failure.exit_code, str(failure)) == (2, f"Job 17 ({job.run.path}): data.path (reviews.csv) is empty.")


def test_a_job_that_was_stopped_before_it_took_its_folder_was_stopped(queue, tmp_path):
    job = submitted(tmp_path, state="submitted")
    asked = Outcome(at=1.0, exit_code=143, sentence="Terminated: 143", signal="SIGUSR1")
    write_beat(job.run.logs / "rank-0.json", Beat(rank=0, pid=1, at=1.0, outcome=asked))
    queue({"17": "FAILED"})
    failure = ended(job)[job]
    assert failure.exit_code == 143
    assert "stopped by SIGUSR1" in str(failure)


def test_ctrl_c_ends_the_waiting_and_names_the_jobs_that_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(jobs):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "job_states", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ended(submitted(tmp_path, "17", state="running"), submitted(tmp_path, "18", state="running"))
    assert "scancel 17 18" in capsys.readouterr().err
