"""`python -m src.train` from outside: what it writes, how it ends, that it repeats itself to the bit."""

import csv
import functools
import importlib.metadata
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml

from src.run.checkpoint import load_verified
from tests.conftest import ROOT, SMALL, door

FILES = (
    "config.yaml command.txt status.json env.json metrics.csv result.json predictions_val.npz predictions_test.npz "
    "checkpoints/best.ckpt checkpoints/last.ckpt report.html vocabulary.json test_ledger.jsonl"
)


def test_a_run_writes_every_file_of_its_folder(finished_run):
    assert [name for name in FILES.split() if not (finished_run / name).is_file()] == []


def test_a_finished_run_says_so(finished_run):
    status = json.loads((finished_run / "status.json").read_text())
    assert (status["state"], status["exit_code"]) == ("finished", 0)


def test_the_saved_config_is_resolved_and_says_which_precision(finished_run):
    config = yaml.safe_load((finished_run / "config.yaml").read_text())
    assert "${" not in (finished_run / "config.yaml").read_text()
    assert config["model"]["vocab_size"] == config["data"]["vocab_size"]
    assert config["trainer"]["precision"] in ("bf16-mixed", "32-true")
    assert config["paths"]["run_dir"] == str(finished_run)


def test_the_result_is_flat_and_agrees_with_the_predictions(finished_run):
    result = json.loads((finished_run / "result.json").read_text())
    assert not [key for key, value in result.items() if isinstance(value, dict | list)]
    for split in ("val", "test"):
        with np.load(finished_run / f"predictions_{split}.npz") as arrays:
            accuracy = np.mean((arrays["probabilities"][:, 1] > 0.5) == (arrays["labels"] == 1))
        assert result[f"{split}/acc"] == pytest.approx(accuracy, abs=1e-6)
    assert result["parameters"] > 0
    assert 1 <= result["best_epoch"] <= 2
    assert 0 < result["threshold"] < 1


def test_metrics_csv_holds_train_and_val_of_every_epoch(finished_run):
    with (finished_run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("train/loss", "val/loss", "val/acc", "val/f1", "val/auroc"):
        assert sum(bool(row[name]) for row in rows) == 2, name


def test_the_environment_names_versions_seed_and_data(finished_run):
    environment = json.loads((finished_run / "env.json").read_text())
    assert environment["seed"] == 0
    assert environment["versions"]["torch"] == importlib.metadata.version("torch")
    assert environment["data"]["sizes"] == {"train": 320, "val": 40, "test": 40}


def test_the_console_shows_config_epochs_metrics_and_where_things_are(finished_run):
    text = (finished_run.parent / "stdout.txt").read_text()
    for words in ("optimizer", "parameters; precision", "epoch   1  train loss", "auroc", "report ", "checkpoint "):
        assert words in text, words
    assert f"{finished_run}/report.html" in text


def test_the_test_split_is_met_once(finished_run):
    lines = (finished_run / "test_ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["again"] for line in lines] == [False]


def train(tmp_path, name, *arguments, **options):
    folder = tmp_path / name
    return folder, door(
        "train", *SMALL, f"hydra.run.dir={folder}", f"paths.output_dir={tmp_path}", *arguments, **options
    )


def test_the_same_seed_twice_gives_the_same_bits(finished_run, tmp_path):
    again, done = train(tmp_path, "again", f"paths.cache_dir={finished_run.parent}/outputs/cache")
    assert done.returncode == 0, done.stderr
    left, right = (
        load_verified(folder / "checkpoints" / "best.ckpt")["state_dict"] for folder in (finished_run, again)
    )
    assert all(torch.equal(left[name], right[name]) for name in left)
    with np.load(finished_run / "predictions_test.npz") as a, np.load(again / "predictions_test.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in a)


def test_three_seeds_give_three_different_networks(finished_run, tmp_path):
    results = {json.loads((finished_run / "result.json").read_text())["train/loss"]}
    for seed in (1, 2):
        folder, done = train(tmp_path, f"seed{seed}", f"seed={seed}", "trainer.max_epochs=1", "test=false")
        assert done.returncode == 0, done.stderr
        result = json.loads((folder / "result.json").read_text())
        assert result["seed"] == seed
        assert "test/acc" not in result
        results.add(result["train/loss"])
    assert len(results) == 3


def test_two_runs_started_in_the_same_second_get_two_folders(tmp_path):
    command = [sys.executable, "-m", "src.train", *SMALL, f"paths.output_dir={tmp_path}", "debug=fast"]
    runs = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert len(list((tmp_path / "train").iterdir())) == 2


def test_a_folder_that_holds_a_run_is_not_written_over(finished_run):
    before = (finished_run / "status.json").read_text()
    done = door("train", *SMALL, f"hydra.run.dir={finished_run}")
    assert done.returncode == 2
    assert "already holds a run" in done.stderr
    assert (finished_run / "status.json").read_text() == before


def test_a_diverging_run_ends_with_exit_code_3_and_says_why(tmp_path):
    folder, done = train(tmp_path, "diverged", "optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null")
    assert done.returncode == 3, done.stderr
    assert "Training diverged" in done.stderr
    assert "Traceback" not in done.stderr
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "failed"
    assert "Training diverged" in status["reason"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_with_its_own_exit_code(tmp_path, number, code):
    folder = tmp_path / "stopped"
    command = [sys.executable, "-m", "src.train", *SMALL, "trainer.max_epochs=10000", "callbacks.early_stopping=null"]
    command += [f"hydra.run.dir={folder}", f"paths.output_dir={tmp_path}"]
    # A shell that starts the tests in the background ignores SIGINT for its children; a user's run must not.
    restore = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, preexec_fn=restore)
    try:
        while not (folder / "checkpoints" / "last.ckpt").exists():
            assert run.poll() is None
            time.sleep(0.1)
        run.send_signal(number)
        assert run.wait(timeout=60) == code
    finally:
        run.kill()
    assert json.loads((folder / "status.json").read_text())["state"] == "killed"


def test_a_secret_reaches_no_file(tmp_path):
    canary = "canary-7f3a9b1c5d"
    environment = {"WANDB_API_KEY": canary, "MY_PASSWORD": canary + "x"}
    _folder, done = train(tmp_path, "secret", f"tags=[{canary}]", "debug=fast", environment=environment)
    assert done.returncode == 0, done.stderr
    assert canary not in done.stdout + done.stderr
    leaks = [path for path in tmp_path.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()]
    assert leaks == []


def test_own_files_train_and_an_overlap_of_train_and_test_is_said(tmp_path):
    texts = [f"{word} film number {number}" for number in range(60) for word in ("good", "bad")]
    for name, rows in {"train": range(0, 100), "test": range(90, 120)}.items():
        lines = "".join(f"{texts[row]},{int(row % 2 == 0)}\n" for row in rows)
        (tmp_path / f"{name}.csv").write_text("text,label\n" + lines)
    arguments = [argument for argument in SMALL if not argument.startswith("data")]
    arguments += [f"data.path={tmp_path}", "data.split=official", "trainer.max_epochs=1"]
    done = door("train", *arguments, f"paths.output_dir={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert "10 of 30 test reviews also occur in train" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "checkpoint", "val"),
    [
        (["trainer.max_steps=3"], "last.ckpt", True),
        (["trainer.limit_val_batches=0", "callbacks=none"], "none, callbacks holds no checkpoint", False),
        (["trainer.val_check_interval=0.5", "schedule=plateau"], "best.ckpt", True),
    ],
)
def test_a_run_without_a_validation_at_its_end_still_ends_well(tmp_path, arguments, checkpoint, val):
    folder, done = train(tmp_path, "run", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(checkpoint)
    result = json.loads((folder / "result.json").read_text())
    assert ("val/acc" in result, "test/acc" in result) == (val, True)


def test_fast_dev_run_is_one_batch_and_no_checkpoint(tmp_path):
    folder, done = train(tmp_path, "fast", "debug=fast")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "result.json").read_text())["steps"] == 1
    assert not list((folder / "checkpoints").iterdir())


def test_a_plain_sweep_runs_every_job_in_a_folder_of_its_own(tmp_path):
    done = door("train", "-m", *SMALL, "debug=fast", "seed=1,2", f"paths.output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    sweeps = list((tmp_path / "sweeps").iterdir())
    assert len(sweeps) == 1
    assert [json.loads((sweeps[0] / n / "result.json").read_text())["seed"] for n in "01"] == [1, 2]
