"""Two ranks that train: they end together, say once what went wrong, and never train two different configs."""

import csv
import hashlib
import json
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from src.launch import worker
from src.run.manifest import find_last
from tests import naive_sweep
from tests.forked import pids, settle, start
from tests.terminate import SMALL, TARGETS, chain

ENDLESS = [*SMALL, "trainer.max_epochs=100000", "callbacks.early_stopping=null"]
ALONE = [word for word in ENDLESS if "strategy" not in word]


def begin(folder, *arguments, **how):
    run, terminal = folder / "run", folder / "terminal.txt"
    places = [f"hydra.run.dir={run}", f"paths.output_dir={folder}"]
    return run, start(*arguments, *places, terminal=terminal, **how)


def status_of(run):
    return json.loads((run / "status.json").read_text())


def test_a_run_that_is_terminated_again_and_again_ends_as_one_that_was_left_alone(tmp_path):
    """The signal goes to rank 0, to rank 1, to the launcher and to all; every attempt leaves with 143 and no process
    behind, and the weights and scores in the end are the same to the bit. `python -m tests.terminate` sends 60."""
    tally = chain(tmp_path, list(TARGETS), seed=0)
    assert tally.problems == []
    assert set(tally.codes) <= {0, 143}


@pytest.mark.parametrize("ranks", [1, 2])
def test_ctrl_c_and_a_second_signal_save_the_step_once(tmp_path, ranks):
    """As a terminal sends it: to every process of the group at once; then somebody is impatient."""
    run, launcher = begin(tmp_path, *(ENDLESS if ranks == 2 else ALONE))
    if ranks == 2:
        processes = pids(run, launcher, marks=40)
    else:
        processes = {"launcher": launcher.pid}
        while find_last(run / "checkpoints") is None:
            assert launcher.poll() is None, (tmp_path / "terminal.txt").read_text()[-2000:]
    before = find_last(run / "checkpoints").step
    for number in (signal.SIGINT, signal.SIGTERM):
        for pid in processes.values():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    assert launcher.wait(60) == 130
    assert settle(processes) == []
    assert (status_of(run)["state"], status_of(run)["signal"]) == ("killed", "SIGINT")
    assert find_last(run / "checkpoints").step >= before
    said = (tmp_path / "terminal.txt").read_text()
    assert said.count("Asked to end after step") == 1
    assert "Traceback" not in said


def test_the_death_of_a_rank_ends_the_others_and_is_named(tmp_path):
    run, launcher = begin(tmp_path, *ENDLESS)
    processes = pids(run, launcher, marks=10)
    os.kill(processes["0"], signal.SIGKILL)
    assert launcher.wait(60) == 137
    assert settle(processes) == []
    assert "Rank 0 was killed by SIGKILL" in status_of(run)["reason"]
    assert (tmp_path / "terminal.txt").read_text().count("Rank 0 was killed by SIGKILL") == 1


def fails_on_rank_1(arguments):
    if os.environ["RANK"] == "1":
        from src.task.classifier import Classifier

        def training_step(self, batch, batch_idx):
            raise ValueError("an unforeseen value")

        Classifier.training_step = training_step
    return worker.main(arguments)


def test_the_exception_of_a_rank_is_shown_once(tmp_path):
    """Rank 0 fails too, in the collective that rank 1 has left; that is no news."""
    run, launcher = begin(tmp_path, *ENDLESS, rank=fails_on_rank_1)
    assert launcher.wait(60) == 1
    said = (tmp_path / "terminal.txt").read_text()
    assert said.count("Traceback") == 1
    assert said.count("ValueError: an unforeseen value") == 2  # in the sentence and as the traceback's last line
    assert status_of(run)["reason"].startswith("RankFailed: Rank 1: ValueError: an unforeseen value")
    assert settle(pids(run, launcher)) == []


def reads_another_config_on_rank_1(arguments):
    """As where each machine has its own disk."""
    run = Path(arguments[0])
    if os.environ["RANK"] == "1":
        copy = run.with_name("copy")
        shutil.copytree(run, copy)
        text = (copy / "config.yaml").read_text()
        assert "lr: 0.001" in text
        (copy / "config.yaml").write_text(text.replace("lr: 0.001", "lr: 0.5"))
        run = copy
    return worker.main([str(run)])


def test_ranks_that_read_different_configs_are_refused_before_they_train(tmp_path):
    run, launcher = begin(tmp_path, *ENDLESS, "optimizer.lr=0.001", rank=reads_another_config_on_rank_1)
    assert launcher.wait(60) == 2
    said = (tmp_path / "terminal.txt").read_text()
    assert said.count("config.yaml has other bytes on rank 1 than on rank 0") == 1
    assert "Traceback" not in said
    assert find_last(run / "checkpoints") is None


def notes_its_config(arguments):
    read = worker.read

    def noted(run):
        config, sha256 = read(run)
        note = {"sha256": sha256, "lr": config["optimizer"]["lr"], "command": os.environ["RANK"]}
        (run.logs / f"noted-{os.environ['RANK']}.json").write_text(json.dumps(note))
        return config, sha256

    worker.read = noted
    return worker.main(arguments)


SEARCH = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optimizer.lr=interval(0.001,0.01)", "test=false"]
SEARCH += ["hydra/sweeper/pruner=median"]  # a callback that talks between ranks and to the study


@pytest.mark.parametrize("words", [["optimizer.lr=0.01,0.002"], SEARCH], ids=["grid", "search"])
def test_every_job_of_a_sweep_is_one_folder_and_one_config_on_all_its_ranks(tmp_path, words):
    """With ranks that run the command line again it is not: see the next test."""
    folder = tmp_path / "sweep"
    places = [f"hydra.sweep.dir={folder}", f"paths.output_dir={tmp_path}"]
    sweep = ["-m", *SMALL, "trainer.max_epochs=1", *words, *places]
    driver = start(*sweep, terminal=tmp_path / "terminal.txt", rank=notes_its_config)
    assert driver.wait(90) == 0, (tmp_path / "terminal.txt").read_text()[-3000:]
    assert sorted(path.name for path in folder.iterdir() if path.name.isdecimal()) == ["0", "1"]
    assert [path.name for path in tmp_path.iterdir() if path.name in ("train", "sweeps", "multirun")] == []
    records = [json.loads(line) for line in (folder / "jobs.jsonl").read_text().splitlines()]
    started = [record for record in records if record["event"] == "started"]
    assert [record["job"] for record in started] == [0, 1]
    for record in started:
        job, rate = folder / str(record["job"]), float(record["overrides"][0].removeprefix("optimizer.lr="))
        sha256 = hashlib.sha256((job / "config.yaml").read_bytes()).hexdigest()
        notes = [json.loads((job / "logs" / f"noted-{rank}.json").read_text()) for rank in (0, 1)]
        assert [note["sha256"] for note in notes] == [sha256, sha256]
        assert [note["lr"] for note in notes] == [rate, rate]
        assert status_of(job)["state"] == "finished"
        assert {path.name for path in job.glob("logs/*.log")} >= {"rank-0.log", "rank-1.log", "job.log"}
        with (job / "metrics.csv").open() as file:
            assert any(row.get("val/loss") for row in csv.DictReader(file))


def test_stock_launchers_start_a_second_sweep_and_train_each_rank_with_a_rate_of_its_own(tmp_path):
    """Why jobs are processes that read a frozen config: this ends with exit code 0 and without a warning."""
    assert naive_sweep.main(tmp_path).wait(60) == 0
    notes = [json.loads(until(tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert [(note["ranks"], note["steps"]) for note in notes] == [(2, 1), (2, 1)]
    assert notes[0]["lr"] != notes[1]["lr"]
    assert len({note["folder"] for note in notes}) == 2
    assert len(list(tmp_path.glob("*/multirun.yaml"))) == 2


def until(path, seconds=20):
    """The file, once it is there: the process that writes it was not started by us."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} was not written"
        time.sleep(0.05)
    return path
