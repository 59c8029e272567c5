"""summary.csv and what is read of a sweep: every job keeps its row, whatever is left of its folder."""

import csv
import json
import shutil

import pytest

from src.errors import UserError
from src.run.process import identify
from src.sweep.read import read
from src.sweep.summary import write_summary
from tests.many_runs import GRID, make_sweep


def rows_of(sweep):
    with open(write_summary(sweep), newline="") as file:
        return list(csv.DictReader(file))


def test_it_holds_what_the_jobs_hold(tmp_path):
    """Compared with a slow reading of each folder."""
    sweep = make_sweep(tmp_path / "sweep")
    rows = rows_of(sweep)
    assert list(rows[0])[:7] == ["job", "state", "reason", "trial", "optimizer.lr", "model.pooling", "seed"]
    assert list(rows[0])[7:] == ["val/acc", "val/loss", "seconds", "folder"]
    assert len(rows) == 12
    for number, row in enumerate(rows):
        result = json.loads((sweep / str(number) / "result.json").read_text())
        command = (sweep / str(number) / "command.txt").read_text().split()
        assert {name: float(row[name]) for name in ("val/acc", "val/loss", "seconds")} == {
            name: result[name] for name in ("val/acc", "val/loss", "seconds")
        }
        assert f"optimizer.lr={float(row['optimizer.lr'])}" in command
        assert (row["job"], row["folder"], row["state"], row["seed"]) == (
            str(number), str(number), "finished", str(result["seed"]),
        )  # fmt: skip


def test_an_added_key_and_one_that_results_name_too_have_one_column_each(tmp_path):
    axes = {"+optimizer.amsgrad": ["true", "false"], "threshold": ["f1", "cost"]}
    jobs = [{"optimizer.amsgrad": "true", "threshold": "f1"}, {"optimizer.amsgrad": "false", "threshold": "cost"}]
    sweep = make_sweep(tmp_path / "sweep", axes, jobs=jobs)
    for number in range(2):
        (sweep / str(number) / "result.json").write_text('{"val/loss": 0.5, "threshold": 0.4}')
    with open(write_summary(sweep), newline="") as file:
        columns, *rows = csv.reader(file)
    assert columns == [
        "job",
        "state",
        "reason",
        "trial",
        "optimizer.amsgrad",
        "threshold",
        "seed",
        "val/loss",
        "folder",
    ]
    assert [row[4:6] for row in rows] == [["true", "f1"], ["false", "cost"]]


DAMAGE = {
    "result.json is missing": lambda job: (job / "result.json").unlink(missing_ok=True),
    "result.json is cut": lambda job: (job / "result.json").write_text('{"val/lo'),
    "results are no numbers": lambda job: (job / "result.json").write_text('{"val/loss": "x", "val/acc": true}'),
    "the folder is gone": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("job", [3, 4])
def test_a_damaged_job_keeps_its_row(tmp_path, damage, job):
    """With the state and the reason that the driver wrote down; job 3 failed, job 4 finished."""
    sweep = make_sweep(tmp_path / "sweep", fails=(3,))
    DAMAGE[damage](sweep / str(job))
    row = rows_of(sweep)[job]
    expected = "Diverged: the loss is not finite in step 31." if job == 3 else ""
    assert (row["job"], row["state"], row["reason"]) == (str(job), "failed" if job == 3 else "finished", expected)
    assert (row["optimizer.lr"], row["val/loss"]) == (GRID["optimizer.lr"][job // 4], "")


def without_end(sweep, job):
    lines = [json.loads(line) for line in (sweep / "jobs.jsonl").read_text().splitlines()]
    kept = [line for line in lines if not (line["job"] == job and line["event"] == "ended")]
    (sweep / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        ({"state": "running", **identify()}, "running", ""),
        ({"state": "running", **identify(), "pid": 2**30}, "killed", "its process is gone"),
        ({"state": "prepared"}, "running", ""),
        ({"state": "submitted"}, "submitted", ""),
        ({"state": "finished"}, "finished", ""),
        ({"state": "failed", "reason": "UserError:\n  two\tlines"}, "failed", "UserError: two lines"),
        (None, "unreadable", "status.json is missing or damaged"),
    ],
)
def test_a_job_whose_end_no_driver_saw_is_told_by_its_folder(tmp_path, status, state, reason):
    """As after a driver that was killed; one line per reason."""
    sweep = make_sweep(tmp_path / "sweep", {"optimizer.lr": ["0.1", "1"]})
    without_end(sweep, 1)
    (sweep / "1" / "status.json").write_text("{" if status is None else json.dumps(status))
    row = rows_of(sweep)[1]
    assert (row["state"], row["reason"]) == (state, reason)
    ended = {"finished", "failed"}
    assert read(sweep).jobs[1].ended == (state in ended)


def test_a_sweep_that_has_just_begun_has_a_head(tmp_path):
    """No job, no line."""
    sweep = make_sweep(tmp_path / "sweep", {"optimizer.lr": ["0.1", "1"]})
    (sweep / "jobs.jsonl").unlink()
    assert write_summary(sweep).read_text() == "job,state,reason,trial,optimizer.lr,seed,folder\n"


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    """And nothing is written."""
    with pytest.raises(UserError, match="is no sweep"):
        write_summary(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pandas_free_readers_get_one_line_per_job(tmp_path):
    """Commas, quotes and line breaks in values and reasons stay inside their cells."""
    jobs = [{"data.path": 'a,b "c"'}, {"data.path": "[x, y]"}]
    sweep = make_sweep(tmp_path / "sweep", {"data.path": []}, jobs=jobs, fails=(1,))
    text = write_summary(sweep).read_text()
    assert len(text.splitlines()) == 3
    assert [row["data.path"] for row in rows_of(sweep)] == ['a,b "c"', "[x, y]"]
