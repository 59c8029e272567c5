"""Jobs are processes with their own cores and GPUs, and whatever ends one of them is told."""

import json
import os
import signal
import sys
import time
from types import SimpleNamespace

import pytest

from src.sweep import pool as module
from src.sweep.devices import Gpus
from src.sweep.jobs import Job
from src.sweep.pool import LocalPool

PRINT = 'grep Cpus_allowed_list /proc/self/status | cut -f2; echo "gpus=$CUDA_VISIBLE_DEVICES"; echo "$@"'
FINISH = 'echo \'{"state": "finished", "exit_code": 0}\' > "$3/status.json"'


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """`jobs(words, ...)`: one job per text of shell commands, which stands for `python -m src.launch.job`."""
    for name in ("sys", "LOOK"):
        monkeypatch.setattr(module, name, {"sys": SimpleNamespace(**vars(sys)), "LOOK": 0.005}[name])
    module.sys.executable = str(tmp_path / "python")
    (tmp_path / "python").write_text('#!/bin/sh\n. "$3/work.sh"\n')
    (tmp_path / "python").chmod(0o755)

    def make(*works, gpus=0):
        made = []
        for number, work in enumerate(works):
            folder = tmp_path / str(number)
            (folder / "logs").mkdir(parents=True)
            (folder / "work.sh").write_text(work)
            made.append(Job(number=number, folder=folder, overrides=(), gpus=gpus))
        return made

    return make


def wait(pool, count):
    found = []
    while len(found) < count:
        found += pool.ended(seconds=10)
    return {job.number: ending for job, ending in found}


def logged(job):
    return (job.folder / "logs" / "job.log").read_text().splitlines()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_jobs_beside_each_other_share_out_cores_and_gpus(jobs):
    made = jobs(*[f"{PRINT}; {FINISH}"] * 2, gpus=1)
    pool, cores = LocalPool(parallel=2, gpus=Gpus(["7", "3"])), os.sched_getaffinity(0)
    for job in made:
        assert pool.room()
        pool.start(job)
    assert not pool.room()
    assert {ending.state for ending in wait(pool, 2).values()} == {"finished"}
    mine = [logged(job)[0] for job in made]
    assert mine[0] != mine[1]
    assert [logged(job)[1] for job in made] == ["gpus=7", "gpus=3"]
    assert logged(made[0])[2] == f"-m src.launch.job {made[0].folder} driver={os.getpid()}"
    assert os.sched_getaffinity(0) == cores


def test_a_job_alone_has_the_whole_machine(jobs, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    (job,) = jobs(f"{PRINT}; {FINISH}", gpus=1)
    pool = LocalPool(parallel=1, gpus=Gpus(["5", "6"]))
    pool.start(job)
    wait(pool, 1)
    with open("/proc/self/status") as status:
        mine = next(line.split()[1] for line in status if line.startswith("Cpus_allowed_list"))
    assert logged(job)[:2] == [mine, "gpus=5,6"]


def status(**fields):
    return f"echo '{json.dumps(fields)}' > \"$3/status.json\""


@pytest.mark.parametrize(
    ("work", "state", "code", "reason"),
    [
        (status(state="finished", exit_code=0), "finished", 0, None),
        (status(state="pruned", exit_code=0, reason="worse"), "pruned", 0, "worse"),
        (status(state="failed", exit_code=3, reason="loss is nan") + "; exit 3", "failed", 3, "loss is nan"),
        (
            status(state="killed", exit_code=143, signal="SIGTERM") + "; exit 143",
            "killed",
            143,
            "stopped by SIGTERM",
        ),
        (status(state="running") + "; kill -9 $$", "killed", 137, "killed by SIGKILL, as the system does when memory"),
        ("kill -11 $$", "killed", 139, "killed by SIGSEGV"),
        ("exit 0", "failed", 1, "ended with exit code 0 and no word"),
        (status(state="prepared") + "; exit 1", "failed", 1, "ended with exit code 1 and no word; see logs/job.log"),
        # What an earlier attempt wrote is not this one's end.
        (status(state="failed", exit_code=3, reason="old") + "; exit 2", "failed", 2, "exit code 2 and no word"),
        ("exit 143", "killed", 143, "killed by SIGTERM"),
    ],
)
def test_every_end_is_told_by_the_folder_or_by_the_process(jobs, work, state, code, reason):
    (job,) = jobs(work)
    pool = LocalPool(parallel=1, gpus=Gpus([]))
    pool.start(job)
    ending = wait(pool, 1)[0]
    assert (ending.state, ending.exit_code) == (state, code)
    assert reason == ending.reason or reason in ending.reason
    if code:
        assert json.loads((job.folder / "status.json").read_text())["state"] == state


def test_what_an_earlier_attempt_wrote_is_not_the_end_of_one_that_ends_with_the_same_code(jobs):
    """And wrote nothing itself."""
    (job,) = jobs("exit 3")
    (job.folder / "status.json").write_text(json.dumps({"state": "failed", "exit_code": 3, "reason": "old"}))
    pool = LocalPool(parallel=1, gpus=Gpus([]))
    pool.start(job)
    ending = wait(pool, 1)[0]
    assert (ending.state, ending.exit_code) == ("failed", 3)
    assert ending.reason == "ended with exit code 3 and no word; see logs/job.log"


def test_a_signal_reaches_each_job_and_closing_leaves_none(jobs):
    made = jobs("trap 'exit 9' TERM; touch \"$3/ready\"; while :; do sleep 0.01; done", "exec sleep 60")
    pool = LocalPool(parallel=2, gpus=Gpus([]))
    for job in made:
        pool.start(job)
    while not (made[0].folder / "ready").exists():
        time.sleep(0.01)
    pids = [process.pid for process in pool.processes.values()]
    assert pool.stop(signal.SIGTERM)
    endings = wait(pool, 2)
    assert (endings[0].exit_code, endings[1].exit_code) == (9, 143)
    pool.start(made[1])
    pool.close()
    for pid in [*pids, *(process.pid for process in pool.processes.values())]:
        assert not os.path.exists(f"/proc/{pid}")


def test_waiting_without_an_end_comes_back(jobs):
    (job,) = jobs("exec sleep 60")
    pool = LocalPool(parallel=1, gpus=Gpus([]))
    pool.start(job)
    assert pool.ended(seconds=0.01) == []
    assert pool.running == [job]
    pool.close()
