"""A grid on this machine, by real processes: what it writes, what it survives, how it goes on."""

import json
import os
import secrets
import signal
import time

import pytest
import yaml

from src.run.process import is_gone
from src.sweep.journal import read_jobs
from tests.forked import parent, start

SMALL = ["data=demo", "data.reader.num_reviews=200", "data.batch_size=16", "model.width=8", "model.hidden=8"]
SMALL += ["trainer.accelerator=cpu", "precision=fp32", "trainer.max_epochs=2"]
# Long enough to be met in the middle, and saved often enough to lose little.
TEXTS = (".json", ".jsonl", ".html", ".csv", ".yaml", ".txt", ".log")
LONG = [word for word in SMALL if "max_epochs" not in word]
LONG += ["trainer.max_epochs=6", "callbacks.early_stopping=null", "callbacks.checkpoint.every_steps=10"]


def sweep_of(tmp_path):
    return tmp_path / "sweep"


def begin(tmp_path, *words, folder=None):
    folder = folder or sweep_of(tmp_path)
    places = [f"hydra.sweep.dir={folder}", f"paths.output_dir={tmp_path}"]
    return start("-m", *words, *places, terminal=tmp_path / "terminal.txt")


def run(tmp_path, *words, **how):
    code = begin(tmp_path, *words, **how).wait(90)
    return code, (tmp_path / "terminal.txt").read_text()


def states(sweep):
    return [record.state for record in read_jobs(sweep).values()]


def until(question, driver, seconds=60):
    end = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < end, "it did not happen"
        assert driver.poll() is None, "the driver has ended"
        time.sleep(0.02)
    return answer


def processes_of(sweep):
    """pid by job, of those that run."""
    statuses = {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/status.json")}
    return {name: s["pid"] for name, s in statuses.items() if s["state"] == "running" and not is_gone(s)}


def scores(sweep):
    """What each job found, without clocks and names."""
    found = {}
    for path in sorted(sweep.glob("*/result.json")):
        result = json.loads(path.read_text())
        found[path.parent.name] = {k: v for k, v in result.items() if k.startswith(("val/", "best_", "steps", "seed"))}
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A grid of four that nobody disturbed, two at once."""
    folder = tmp_path_factory.mktemp("alone")
    words = [*LONG, "optimizer.lr=0.1,0.01", "seed=1,2", "test=false", "hydra.launcher.parallel=2"]
    code, said = run(folder, *words)
    assert code == 0, said
    return folder, words, said


def test_each_job_is_a_run_folder_of_its_own_and_the_record_says_which(alone):
    folder, _words, said = alone
    sweep = sweep_of(folder)
    facts = json.loads((sweep / "sweep.json").read_text())
    assert (facts["kind"], facts["jobs"]) == ("grid", 4)
    assert facts["axes"] == {"optimizer.lr": ["0.1", "0.01"], "seed": ["1", "2"]}
    assert facts["objectives"] == {"val/loss": "minimize"}
    assert "trainer.max_epochs=6" in facts["overrides"]
    for number, (lr, seed) in enumerate([(0.1, 1), (0.1, 2), (0.01, 1), (0.01, 2)]):
        config = yaml.safe_load((sweep / str(number) / "config.yaml").read_text())
        assert (config["optimizer"]["lr"], config["seed"], config["resume"]) == (lr, seed, "auto")
        assert f"optimizer.lr={lr} seed={seed}" in (sweep / str(number) / "command.txt").read_text()
        record = read_jobs(sweep)[number]
        assert record.overrides == (f"optimizer.lr={lr}", f"seed={seed}")
        result = json.loads((sweep / str(number) / "result.json").read_text())
        assert record.values == (result["val/loss"],)
        assert f"job {number} of 4 finished: val/loss {result['val/loss']:.4f} (optimizer.lr={lr} seed={seed})" in said
        assert "parameters; precision" in (sweep / str(number) / "logs" / "job.log").read_text()
    assert "parameters; precision" not in said


def test_a_killed_driver_leaves_nothing_running_and_its_sweep_ends_as_one_that_was_left_alone(alone, tmp_path):
    """Killed once with two jobs in the middle; the next driver takes them up where they were saved."""
    _folder, words, _said = alone
    driver, sweep = begin(tmp_path, *words), sweep_of(tmp_path)
    until(lambda: list(sweep.glob("[01]/checkpoints/step-*/manifest.json")) and len(processes_of(sweep)) == 2, driver)
    pids = processes_of(sweep).values()
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait(10)
    end = time.monotonic() + 10
    while any(parent(pid) for pid in pids):
        assert time.monotonic() < end, "a job outlived its driver"
        time.sleep(0.02)
    (tmp_path / "terminal.txt").unlink()
    code = start("-m", f"resume={sweep}", terminal=tmp_path / "terminal.txt").wait(90)
    assert code == 0, (tmp_path / "terminal.txt").read_text()
    assert states(sweep) == ["finished"] * 4
    assert scores(sweep) == scores(sweep_of(_folder))
    attempts = [json.loads((sweep / str(n) / "status.json").read_text())["attempt"] for n in range(4)]
    assert sorted(attempts) == [1, 1, 2, 2]


def test_a_finished_sweep_that_is_continued_starts_nothing(alone):
    folder, words, _said = alone
    before = (sweep_of(folder) / "jobs.jsonl").read_text()
    code, said = run(folder, *words, "resume=auto")
    assert (code, said.count("started")) == (0, 0), said
    assert (sweep_of(folder) / "jobs.jsonl").read_text() == before


def test_a_signal_to_the_driver_saves_the_jobs_and_the_sweep_goes_on_later(tmp_path):
    words = [*LONG, "seed=1,2", "test=false", "hydra.launcher.parallel=2"]
    driver, sweep = begin(tmp_path, *words), sweep_of(tmp_path)
    until(lambda: len(list(sweep.glob("*/checkpoints/step-*/manifest.json"))) >= 2, driver)
    os.kill(driver.pid, signal.SIGTERM)
    assert driver.wait(60) == 143
    records = read_jobs(sweep)
    assert {record.exit_code for record in records.values()} == {143}
    assert len(records) == 2
    code, said = run(tmp_path, *words, "resume=auto")
    assert code == 0, said
    assert states(sweep) == ["finished"] * 2


def test_jobs_that_diverge_or_are_killed_end_no_sweep_and_are_tried_again_when_asked(tmp_path):
    """Job 0 diverges, job 1 is killed by somebody, job 2 finishes; the exit code is that of the first failure."""
    words = [*LONG, "optimizer=sgd", "optimizer.lr=3e38,0.1,0.01", "trainer.gradient_clip_val=null", "test=false"]
    driver, sweep = begin(tmp_path, *words), sweep_of(tmp_path)
    pid = until(lambda: processes_of(sweep).get("1") if (sweep / "1" / "metrics.csv").exists() else None, driver)
    os.kill(pid, signal.SIGKILL)
    assert driver.wait(60) == 3
    records = read_jobs(sweep)
    assert [(r.state, r.exit_code) for r in records.values()] == [("failed", 3), ("killed", 137), ("finished", 0)]
    assert "Training diverged" in records[0].reason
    assert "killed by SIGKILL" in json.loads((sweep / "1" / "status.json").read_text())["reason"]
    said = (tmp_path / "terminal.txt").read_text()
    assert "2 of 3 jobs did not finish; the first was job 0 (optimizer.lr=3e+38)" in said
    assert "Traceback" not in said
    code, said = run(tmp_path, *words, "resume=auto", "hydra.sweeper.retry_failed=true")
    assert code == 3
    assert [(r.state, r.exit_code) for r in read_jobs(sweep).values()] == [
        ("failed", 3),
        ("finished", 0),
        ("finished", 0),
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["optimizer=adam,adamm"], "optimizer=adamm is not a choice; did you mean optimizer=adam?"),
        (["optimizer.lr=0.1,fast"], "optimizer.lr (fast) must be a number"),
        (["optimizer.lrr=0.1,0.2"], "optimizer.lrr (0.1,0.2) is not a setting of optimizer; did you mean"),
        (["seed=1,2", "hydra.launcher.parallel=0"], "hydra.launcher.parallel (0) must be a whole number >= 1"),
        (["seed=1,2", "hydra.run.dir=x"], "hydra.run.dir (['hydra.run.dir=x']) has no effect"),
        (["seed=1,2", "hydra.sweep.subdir=x"], "hydra.sweep.subdir (x) has no effect"),
        (["seed=1,2", "launcher=sbatch"], "hydra/launcher=slurm submits the jobs of a sweep"),
        (["seed=1,2", "hydra/launcher=basic"], "hydra/launcher=basic is not a choice here"),
    ],
)
def test_a_grid_with_a_wrong_value_is_refused_before_anything_is_written(tmp_path, words, sentence):
    code, said = run(tmp_path, *SMALL, *words)
    assert (code, sentence in said) == (2, True), said
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["terminal.txt"]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [("dry_run=true", "dry_run (true) lists the jobs of a sweep"), ("hydra/sweeper=optuna", "needs -m: a search is")],
)
def test_words_of_a_sweep_are_refused_in_a_run_of_its_own(tmp_path, word, sentence):
    words = [*SMALL, word, f"paths.output_dir={tmp_path}"]
    assert start(*words, terminal=tmp_path / "terminal.txt").wait(60) == 2
    assert sentence in (tmp_path / "terminal.txt").read_text()
    assert not list(tmp_path.glob("train/*"))


def test_a_dry_run_lists_the_jobs_and_writes_nothing(tmp_path):
    code, said = run(tmp_path, *SMALL, "optimizer.lr=0.1,0.01", "seed=1,2", "dry_run=true")
    assert code == 0, said
    assert [line for line in said.splitlines() if line.startswith("job")][3] == "job 3 of 4: optimizer.lr=0.01 seed=2"
    assert [path.name for path in tmp_path.iterdir()] == ["terminal.txt"]


def test_no_file_of_a_sweep_has_a_secret_that_was_a_value_of_an_axis(tmp_path):
    password = secrets.token_hex(8)  # env.json holds what is not committed, of this file too
    tags = f"tags=[https://u:{password}@h/a],[plain]"
    code, said = run(tmp_path, *SMALL, "trainer.max_epochs=1", tags, "test=false")
    assert code == 0, said
    texts = {path: path.read_text() for path in sweep_of(tmp_path).rglob("*") if path.suffix in TEXTS}
    assert {"sweep.json", "report.html", "jobs.jsonl", "summary.csv"} <= {path.name for path in texts}
    assert [path for path, text in texts.items() if password in text] == []


def test_many_jobs_are_announced_before_they_are_composed(tmp_path, monkeypatch):
    monkeypatch.setattr("src.launch.sweeping.gridding.MANY", 1)
    code, said = run(tmp_path, *SMALL, "seed=1,2", "dry_run=true")
    assert code == 0, said
    assert said.splitlines()[0] == "composing   2 jobs"


def test_a_search_whose_database_cannot_be_opened_leaves_no_sweep_to_continue(tmp_path):
    (tmp_path / "search.db").write_text("no database " * 100)
    storage = f"hydra.sweeper.storage=sqlite:///{tmp_path}/search.db"
    code, said = run(tmp_path, *SMALL, "hydra/sweeper=optuna", "optimizer.lr=interval(0.1,0.2)", storage)
    assert (code, "search.db) must be a SQLite file" in said, "Traceback" in said) == (2, True, False), said
    assert not (sweep_of(tmp_path) / "sweep.json").exists()


def test_a_glob_is_an_axis_of_all_choices_of_its_group(tmp_path):
    code, said = run(tmp_path, *SMALL, "accumulation=glob(*,exclude=tokens)", "dry_run=true")
    assert code == 0, said
    lines = ["job 0 of 2: accumulation=batches", "job 1 of 2: accumulation=none"]
    assert [line for line in said.splitlines() if line.startswith("job")] == lines
