"""A search loses no trial and repeats none, wherever its driver was killed; what it measured decides about a job."""

import json
from pathlib import Path

import pytest

from src.errors import UserError
from src.launch.sweeping.sources import Told
from src.launch.sweeping.trials import SearchSource
from src.run.status import write_status
from src.sweep.jobs import Ending
from src.sweep.journal import append, read_jobs
from src.sweep.space import read_space
from src.sweep.storage import place_of
from src.sweep.study import Search

GOOD = Ending(state="finished", exit_code=0)


class Composer:
    """Makes a config of any overrides but those of a wrong value."""

    def __init__(self, folder):
        self.folder = folder

    def make(self, overrides, *, folder, pruning=None):
        if any(word.startswith("model.hidden=0") for word in overrides):
            raise UserError("model.hidden (0) must be a whole number >= 1.")
        return {"overrides": list(overrides), "pruning": pruning, "paths": {"run_dir": str(folder)}}


class Places:
    def accept(self, config):
        return 2


def opened(sweep, *, n_trials=3, pruner=None, space=None, **how):
    """The source of a driver that begins, or begins again."""
    search = Search(
        space=read_space(space or {"optimizer.lr": "log(1e-4, 1e-1)"}),
        objectives={"val/loss": "minimize"},
        sampler={"name": "random"},
        pruner=pruner or {},
        n_trials=n_trials,
        seed=0,
        sweep=sweep,
        place=place_of(sweep, None),
    )
    records = read_jobs(sweep)
    known = [record.trial for record in records.values()]
    search.open(continued=(sweep / "study.journal").exists(), known=known, **how)
    return SearchSource(search, Composer(sweep), Places(), fixed=("data=demo",), records=records)


def started(sweep, job):
    append(sweep, job=job.number, event="started", overrides=list(job.overrides), trial=job.trial)


def ended(sweep, job, told):
    ending = {"state": told.ending.state, "exit_code": told.ending.exit_code, "reason": told.ending.reason}
    append(sweep, job=job.number, event="ended", **ending, values=told.values)


def finish(job, **result):
    (job.folder / "result.json").write_text(json.dumps(result))
    (job.folder / "report.html").touch()
    write_status(job.folder / "status.json", state="finished", exit_code=0, attempt=1)


def all_of(source):
    found = []
    while (asked := source.ask()) is not None:
        found.append(asked)
    return found


def test_each_trial_is_a_frozen_job_with_the_number_that_follows(tmp_path):
    source = opened(tmp_path, pruner={"name": "median", "startup": 1, "warmup": 1})
    found = all_of(source)
    assert [(job.number, job.trial, job.gpus, ending) for job, ending in found] == [(n, n, 2, None) for n in range(3)]
    for job, _ in found:
        text = (job.folder / "config.yaml").read_text()
        assert job.overrides[0] in text
        assert "src.callbacks.pruning.Pruning" in text
        assert f"trial: {job.trial}" in text
        assert f"src.train data=demo {job.overrides[0]}" in (job.folder / "command.txt").read_text()


def test_the_command_of_a_job_says_where_hydra_has_the_config_from(tmp_path, monkeypatch):
    words = ["train.py", "-m", "--config-dir", "my conf", "seed=1,2", "-cn=mine"]
    monkeypatch.setattr("sys.argv", words)
    job = opened(tmp_path).ask().job
    command = (job.folder / "command.txt").read_text()
    assert command == f"python -m src.train --config-dir 'my conf' -cn=mine data=demo {job.overrides[0]}\n"


def test_a_point_that_no_run_can_have_fails_alone(tmp_path):
    source = opened(tmp_path, space={"model.hidden": "choice(0, 8, 16)"})
    found = all_of(source)
    assert len(found) == 3
    ((job, ending),) = [asked for asked in found if asked.ending is not None]
    assert job.overrides == ("model.hidden=0",)
    assert (ending.state, ending.exit_code) == ("failed", 2)
    assert json.loads((job.folder / "status.json").read_text())["reason"] == ending.reason
    again = opened(tmp_path, space={"model.hidden": "choice(0, 8, 16)"})  # killed before any of that was written down
    assert [asked.ending for asked in all_of(again)].count(ending) == 1
    assert source.tell(job, ending).values is None


@pytest.mark.parametrize(
    ("result", "ending", "told"),
    [
        ({"val/loss": 0.5}, GOOD, Told(GOOD, (0.5,))),
        ({"val/acc": 0.5}, GOOD, "nothing to compare: result.json has no number val/loss"),
        ({"val/loss": None}, GOOD, "nothing to compare"),
        ({"val/loss": 0.5}, Ending(state="pruned", exit_code=0, reason="worse"), None),
        ({}, Ending(state="failed", exit_code=4, reason="out of memory"), None),
        ({}, Ending(state="killed", exit_code=137, reason="killed"), None),
    ],
)
def test_only_a_finished_job_with_a_number_has_a_value(tmp_path, result, ending, told):
    source = opened(tmp_path)
    job = source.ask().job
    (job.folder / "result.json").write_text(json.dumps(result))
    answer = source.tell(job, ending)
    if isinstance(told, str):
        assert answer.ending.state == "failed"
        assert told in answer.ending.reason
    else:
        assert answer == (told or Told(ending, None))
    assert opened(tmp_path).left == []


# Where a driver may die: (what it has written by then about the first job, what the next driver has to do with it).
@pytest.mark.parametrize(
    ("death", "expected"),
    [
        ("before the folder", "start"),
        ("before the record", "start"),
        ("while it runs", "start"),
        ("after the job was told to leave", "start"),
        ("after the job has finished", "tell"),
        ("after the study was told", "tell"),
        ("after the record of the end", "nothing"),
    ],
)
def test_wherever_the_driver_was_killed_no_trial_is_lost_or_repeated(tmp_path, death, expected):
    source = opened(tmp_path)
    job = drive_to(death, source, tmp_path)
    again = opened(tmp_path)
    found = all_of(again)
    assert sorted(asked.job.trial for asked in found) == ([1, 2] if expected == "nothing" else [0, 1, 2])
    assert sorted(asked.job.number for asked in found) == ([1, 2] if expected == "nothing" else [0, 1, 2])
    if expected != "nothing":
        first = next(asked for asked in found if asked.job.trial == 0)
        assert first.job.overrides == job.overrides
        assert (first.ending is not None) == (expected == "tell")
        if expected == "tell":
            assert again.tell(*first).values == (0.5,)
    points = {asked.job.overrides for asked in found} | {job.overrides}
    assert len(points) == 3


def drive_to(death, source, sweep):
    """The first job of the search, as a driver leaves it that is killed there."""
    if death == "before the folder":
        trial = source.search.ask()
        return source.job(0, trial)
    job = source.ask().job
    if death == "before the record":
        return job
    started(sweep, job)
    if death == "while it runs":
        write_status(job.folder / "status.json", state="running", attempt=1)
        return job
    if death == "after the job was told to leave":
        left = Ending(state="killed", exit_code=143, reason="stopped by SIGTERM")
        ended(sweep, job, source.tell(job, left))
        return job
    finish(job, **{"val/loss": 0.5})
    if death == "after the job has finished":
        return job
    told = source.tell(job, GOOD)
    if death == "after the record of the end":
        ended(sweep, job, told)
    return job


def test_failed_trials_are_tried_again_as_new_jobs_only_when_asked(tmp_path):
    source = opened(tmp_path, n_trials=1)
    job = source.ask().job
    started(tmp_path, job)
    ended(tmp_path, job, source.tell(job, Ending(state="failed", exit_code=3, reason="diverged")))
    assert all_of(opened(tmp_path, n_trials=1)) == []
    ((again, ending),) = all_of(opened(tmp_path, n_trials=1, retry_failed=True))
    assert (again.number, again.trial, again.overrides, ending) == (1, 1, job.overrides, None)
    assert Path(again.folder) == tmp_path / "1"
