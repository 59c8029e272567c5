"""A trial that does worse than the others ends early and in order, whatever kills it on the way."""

import csv
import json
import os
import signal

import pytest

from src.callbacks.pruning import Pruning
from src.errors import UserError
from src.launch import training
from src.run.files import read_json
from src.run.manifest import find_best
from src.sweep.axes import Real
from src.sweep.reports import Reports
from src.sweep.storage import JOURNAL, load_study, place_of
from src.sweep.study import Search
from tests.forked import start
from tests.legs import new_run, typed

MEDIAN = {"name": "median", "startup": 1, "warmup": 2}
REPORT = 7  # Optuna's number for it in the journal
PATIENT = ["callbacks.early_stopping.patience=9"]


def search(folder, *, others):
    """A search in which one trial has finished, which reported so, and the next one is asked for."""
    folder.mkdir()
    made = Search(
        space={"x": Real(low=0.0, high=1.0)}, objectives={"val/loss": "minimize"},
        sampler={"name": "random"}, pruner=MEDIAN, n_trials=9, seed=0, sweep=folder, place=place_of(folder, None),
    )  # fmt: skip
    made.open(continued=False)
    number = made.ask().number
    for step, value in enumerate(others, 1):
        made.study._storage.set_trial_intermediate_value(number, step, value)
    made.tell(number, [others[-1]], "finished")
    return made, made.ask().number


def job(folder, made, number, *overrides):
    """The job of a trial, which trains in a forked process."""
    run = new_run(folder / str(number), "bilstm", *overrides)
    entry = {"_target_": "src.callbacks.pruning.Pruning", "folder": str(run.folder), **made.pruning(number)}
    run.config["callbacks"]["pruning"] = entry
    return run


def reports(folder, number):
    """What the trial reported, and how often each of it was written."""
    lines = [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()]
    steps = [line["step"] for line in lines if line["op_code"] == REPORT and line["trial_id"] == number]
    return load_study(folder, storage=None, name="search").trials[number].intermediate_values, steps


def losses(run):
    with open(run / "metrics.csv") as file:
        return [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]]


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """A run that was left alone until it was pruned at its third validation, in the middle of the second epoch."""
    folder = tmp_path_factory.mktemp("pruned") / "sweep"
    made, number = search(folder, others=[0.01] * 9)
    run = job(folder, made, number)
    assert run.begin().wait() == 0, run.terminal.read_text()
    return folder, run


def test_a_worse_trial_is_pruned_and_leaves_a_best_checkpoint_and_a_result(pruned):
    folder, run = pruned
    status, result = read_json(run.folder / "status.json"), read_json(run.folder / "result.json")
    found, steps = reports(folder, 1)
    assert steps == [1, 2, 3]
    assert list(found.values()) == pytest.approx(losses(run.folder))
    assert (status["state"], status["exit_code"]) == ("pruned", 0)
    words = (
        f"val/loss {min(found.values()):.4f} after validation 3 is worse than 0.0100, the median of 1 finished trial"
    )
    assert status["reason"] == words
    assert f"Pruned: {words}." in run.terminal.read_text()
    assert result["val/loss"] == find_best(run.folder / "checkpoints").score == pytest.approx(min(found.values()))
    assert (result["epochs"], result["steps"]) == (2, 14)
    assert not [name for name in result if name.startswith("test/")]
    assert (run.folder / "report.html").exists()


def test_a_pruned_run_has_nothing_left_to_be_done(pruned):
    _, run = pruned
    before = (run.folder / "result.json").read_bytes()
    assert run.begin().wait() == 0
    assert (run.folder / "result.json").read_bytes() == before
    assert read_json(run.folder / "status.json")["attempt"] == 1


def test_a_run_that_is_killed_again_and_again_reports_once_and_is_pruned_at_the_same_place(
    pruned, tmp_path, monkeypatch
):
    """Before the checkpoint of a report is there, after it, and when all is done but the result."""
    _, whole = pruned
    folder = tmp_path / "sweep"
    made, number = search(folder, others=[0.01] * 9)
    run = job(folder, made, number)
    for death in [("write state.ckpt", 1), ("rename manifest.json", 3), ("write state.ckpt", 3)]:
        assert run.begin(death=death).wait() == -signal.SIGKILL, run.terminal.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(training, "write_result", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        assert run.begin().wait() == -signal.SIGKILL
    assert run.begin().wait() == 0, run.terminal.read_text()
    assert reports(folder, number) == reports(pruned[0], 1)
    mine, others = (read_json(each.folder / "status.json") for each in (run, whole))
    assert [mine[name] for name in ("state", "reason")] == [others[name] for name in ("state", "reason")]
    mine, others = (read_json(each.folder / "result.json") for each in (run, whole))
    assert {name: mine[name] for name in mine if name.startswith("val/")} == {
        name: others[name] for name in others if name.startswith("val/")
    }
    assert (mine["steps"], mine["best_step"]) == (others["steps"], others["best_step"])


def test_a_report_that_was_lost_is_made_again(tmp_path):
    """The machine failed after a checkpoint was written and before the journal was."""
    folder = tmp_path / "sweep"
    made, number = search(folder, others=[9.0] * 9)
    before = (folder / JOURNAL).read_text()
    run = job(folder, made, number, "trainer.max_epochs=1")
    assert run.begin(death=("fsync checkpoints", 6)).wait() == -signal.SIGKILL
    assert reports(folder, number)[1] == [1, 2]
    (folder / JOURNAL).write_text(before)
    assert run.begin().wait() == 0, run.terminal.read_text()
    found, steps = reports(folder, number)
    assert steps == [1, 2]
    assert list(found.values()) == pytest.approx(losses(run.folder))


def test_a_run_whose_last_validation_is_the_worst_has_finished(tmp_path):
    folder = tmp_path / "sweep"
    made, number = search(folder, others=[9.0, 9.0, 0.01])
    run = job(folder, made, number, "trainer.max_steps=12", "trainer.max_epochs=2")
    assert run.begin().wait() == 0, run.terminal.read_text()
    assert read_json(run.folder / "status.json")["state"] == "finished"


@pytest.mark.parametrize("there", [True, False])
def test_two_ranks_are_pruned_at_the_same_step_or_refuse_together(tmp_path, there):
    """Rank 0 alone asks; without the study both end with its sentence."""
    folder = tmp_path / "sweep"
    made, number = search(folder, others=[0.01] * 9)
    entry = {"_target_": "src.callbacks.pruning.Pruning", "folder": "${paths.run_dir}", **made.pruning(number)}
    if not there:
        (folder / JOURNAL).unlink()
    words = typed("bilstm", "trainer.devices=2", "strategy=ddp", "data.batch_size=8", *PATIENT, outputs=tmp_path)
    flow = ",".join(f"{key}:{_flow(value)}" for key, value in entry.items())
    process = start(
        *words, f"+callbacks.pruning={{{flow}}}", f"hydra.run.dir={folder}/{number}", terminal=tmp_path / "t"
    )
    code, terminal = process.wait(60), (tmp_path / "t").read_text()
    status = read_json(folder / str(number) / "status.json")
    if there:
        assert (code, status["state"], status["exit_code"]) == (0, "pruned", 0), terminal
        assert sorted(reports(folder, number)[1]) == [1, 2, 3]
        assert read_json(folder / str(number) / "result.json")["steps"] == 14
    else:
        assert (code, status["state"]) == (2, "failed"), terminal
        assert "study.journal holds no study search" in terminal


def _flow(value):
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_flow(entry)}" for key, entry in value.items()) + "}"
    return "null" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


def test_a_trial_that_has_ended_refuses_more_reports(tmp_path):
    made, number = search(tmp_path / "sweep", others=[0.01])
    Reports(tmp_path / "sweep", storage=None, study="search", trial=number).write([0.5])
    for gone in (number - 1, number + 1):
        with pytest.raises(UserError, match=r"is not under way; .* callbacks=default"):
            Reports(tmp_path / "sweep", storage=None, study="search", trial=gone)
    assert made.trials()[number].intermediate_values == {1: 0.5}


def test_without_a_search_it_refuses():
    settings = {"folder": "x", "storage": None, "study": "search", "monitor": "val/loss", "mode": "min"}
    with pytest.raises(UserError, match="needs the other jobs of a search"):
        Pruning(**settings, trial=None, pruner=MEDIAN)._open()
    with pytest.raises(UserError, match="must be one of median, halving"):
        Pruning(**settings, trial=1, pruner={"name": "x"})
    with pytest.raises(UserError, match="pruner is empty"):
        Pruning(**settings, trial=1, pruner={})
