"""Jobs of a sweep on a cluster: submitted once, found again by the next driver, told as Slurm and their folders say."""

import json
import signal

import pytest

from src.errors import RankFailed, UserError
from src.launch.slurm import commands
from src.launch.slurm import pool as module
from src.launch.slurm.pool import SlurmPool
from src.launch.sweeping.cluster import Cluster
from src.launch.sweeping.freezing import freeze
from src.sweep.jobs import Job


@pytest.fixture
def slurm(monkeypatch):
    """A queue in a dict, job number to Slurm's word; None for one that does not answer."""
    queue = {}

    def sbatch(script):
        number = str(17 + len(queue))
        queue[number] = "PENDING"
        return number

    def states(numbers):
        return None if "silent" in queue else {n: queue[n] for n in numbers if n in queue}

    monkeypatch.setattr(commands, "sbatch", sbatch)
    monkeypatch.setattr(commands, "job_states", states)
    return queue


@pytest.fixture
def frozen(tmp_path, compose):
    """`frozen(number)`: a job of a sweep that may be submitted."""
    from src.launch.compose import plain

    def make(number):
        folder = tmp_path / str(number)
        overrides = ("data=demo", "launcher=sbatch", "trainer.accelerator=cpu", f"+paths.run_dir={folder}")
        freeze(plain(compose(*overrides)), folder, overrides=overrides)
        return Job(number=number, folder=folder, overrides=(f"seed={number}",))

    return make


def a_pool(parallel=2):
    return SlurmPool(parallel=parallel, poll_seconds=0.0)


def end(slurm, job, number, word, **status):
    slurm[number] = word
    (job.folder / "status.json").write_text(json.dumps(status))


def test_each_job_is_submitted_from_its_own_folder_while_there_is_room(slurm, frozen):
    pool, made = a_pool(), [frozen(number) for number in range(2)]
    for job in made:
        assert pool.room()
        pool.start(job)
        assert json.loads((job.folder / "status.json").read_text())["state"] == "submitted"
        assert "src.train data=demo" in (job.folder / "command.txt").read_text()
    assert not pool.room()
    assert list(slurm) == ["17", "18"]
    assert pool.ended(seconds=0) == []


def test_ends_are_told_by_slurm_and_the_folder_together(slurm, frozen):
    pool, made = a_pool(4), [frozen(number) for number in range(4)]
    for job in made:
        pool.start(job)
    end(slurm, made[0], "17", "COMPLETED", state="finished", exit_code=0)
    end(slurm, made[1], "18", "COMPLETED", state="pruned", exit_code=0, reason="worse than the median")
    end(slurm, made[2], "19", "FAILED", state="failed", exit_code=3, reason="Diverged: loss is nan")
    end(slurm, made[3], "20", "OUT_OF_MEMORY", state="running")
    endings = {job.number: ending for job, ending in pool.ended(seconds=0)}
    assert [(endings[n].state, endings[n].exit_code) for n in range(4)] == [
        ("finished", 0),
        ("pruned", 0),
        ("failed", 3),
        ("killed", 4),
    ]
    assert endings[1].reason == "worse than the median"
    assert "loss is nan" in endings[2].reason
    assert pool.running == []


def test_the_next_driver_waits_for_a_job_in_the_queue_and_submits_one_that_is_gone(slurm, frozen):
    first, made = a_pool(), [frozen(number) for number in range(2)]
    for job in made:
        first.start(job)
    assert not first.stop(signal.SIGINT)
    slurm["18"] = "CANCELLED"
    end(slurm, made[1], "18", "CANCELLED", state="killed", exit_code=143, signal="SIGTERM", attempt=1)
    second = a_pool()
    for job in made:
        second.start(job)
    assert list(slurm) == ["17", "18", "19"]
    assert [submitted.number for submitted in second.jobs.values()] == ["17", "19"]


def test_a_slurm_that_does_not_answer_gets_no_job_twice(slurm, frozen):
    first, job = a_pool(), frozen(0)
    first.start(job)
    slurm["silent"] = ""
    second = a_pool()
    second.start(job)
    assert second.jobs[job].number == "17"
    assert second.ended(seconds=0) == []


def test_a_controller_that_never_answers_ends_the_sweep_and_names_the_jobs(slurm, frozen, monkeypatch):
    pool = a_pool()
    pool.start(frozen(0))
    slurm["silent"] = ""
    monkeypatch.setattr(module, "PATIENCE", -1.0)
    with pytest.raises(RankFailed, match=r"has not answered.*Jobs 17 go on; resume=auto.*scancel 17"):
        pool.ended(seconds=0)


def test_a_driver_that_leaves_says_which_jobs_go_on(slurm, frozen, capsys):
    pool = a_pool()
    pool.start(frozen(0))
    pool.stop(signal.SIGTERM)
    pool.close()
    assert "Jobs 17 go on; resume=auto waits for them again, `scancel 17` ends them." in capsys.readouterr().err
    assert slurm["17"] == "PENDING"


def test_a_search_on_a_cluster_needs_to_know_how_many_at_once(monkeypatch):
    monkeypatch.setattr("src.launch.sweeping.cluster.find_sbatch", lambda: None)
    assert Cluster(parallel=None, poll_seconds=1.0).pool(size=12).parallel == 12
    with pytest.raises(UserError, match=r"hydra.launcher.parallel \(null\) must be a number in a search"):
        Cluster(parallel=None, poll_seconds=1.0).pool(size=None)
    with pytest.raises(UserError, match="launcher=local does not go with"):
        Cluster(parallel=2, poll_seconds=1.0).accept({"launcher": {}})
