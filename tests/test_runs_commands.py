"""`python -m src.runs show|diff|best|tail`: one run on a screen, two beside each other, the best, one as it goes."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from src.run.files import write_json
from src.run.ledger import record_test
from src.run.manifest import Manifest, step_folder
from src.run.predictions import write_predictions
from src.run.process import identify
from src.run.yaml_text import to_yaml
from src.runs.__main__ import main
from src.runs.following import Lines
from src.runs.score import mode_of
from src.runs.showing import size

ROOT = Path(__file__).parents[1]
DAY = "2026-11-01T00:00:00+00:00"
CONFIG = {
    "seed": 0, "monitor": "val/loss", "monitor_mode": "min", "tags": ["imdb"], "init_from": None,
    "task": {"_target_": "src.task.classifier.Classifier"},
    "data": {"_target_": "src.data.module.Reviews", "path": None, "batch_size": 32},
    "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.001, "betas": [0.9, 0.999], "fused": False},
    "model": {"_target_": "src.model.bilstm.BiLSTM", "hidden": 256},
    "trainer": {"_target_": "lightning.Trainer", "max_epochs": 3, "max_steps": -1},
}  # fmt: skip
RESULT = {"seed": 0, "parameters": 1000, "val/loss": 0.5, "val/acc": 0.75, "test/acc": 0.7, "seconds": 9.5, "epochs": 3}


def data_of(letter):
    return {"content": letter * 64, "label_names": ["neg", "pos"], "split": "holdout"}


def make(root, name, *, result=None, **config):
    folder = root / f"2026-11-01_12-00-00_bilstm_{name}"
    folder.mkdir(parents=True)
    write_json(folder / "status.json", {"state": "finished", "started": DAY, "ended": DAY, "exit_code": 0})
    paths = {"output_dir": "outputs", "run_dir": str(folder)}
    callbacks = {"checkpoint": {"folder": str(folder), "keep": 2}}
    (folder / "config.yaml").write_text(to_yaml({**CONFIG, **config, "callbacks": callbacks, "paths": paths}))
    write_json(folder / "result.json", {"run": folder.name, **RESULT, **(result or {})})
    environment = {"git": {"commit": "a" * 40, "clean": True, "diff": name}, "versions": {"torch": "2.13.0"}}
    write_json(
        folder / "env.json",
        {**environment, "data": {"content": "c" * 64, "label_names": ["neg", "pos"], "split": "holdout"}},
    )
    (folder / "command.txt").write_text("python -m src.train model=bilstm\n")
    return folder


def predict(folder, right, *, split="val", rows=None):
    """Predictions of two classes that are right where `right` says so."""
    labels = np.arange(len(right)) % 2
    sure = np.where(right, labels, 1 - labels)
    probabilities = np.stack([1 - sure * 0.8 - 0.1, sure * 0.8 + 0.1], axis=1).astype("f4")
    rows = np.arange(len(right)) if rows is None else rows
    write_predictions(folder / f"predictions_{split}.npz", rows=rows, labels=labels, probabilities=probabilities)


def out(capsys, *words, code=0):
    assert main(words) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def sections(text):
    """The blocks of a diff: heads, config, metrics, surroundings, verdict."""
    return text.strip().split("\n\n")


def test_diff_names_what_differs_and_nothing_else(tmp_path, capsys):
    a = make(tmp_path, "aaaa0001")
    optimizer = {"_target_": "torch.optim.SGD", "lr": 0.001, "betas": [0.9, 0.99]}
    b = make(tmp_path, "bbbb0002", optimizer=optimizer, extra=None, result={"val/acc": 0.8, "epochs": 4, "new": 1})
    environment = json.loads((b / "env.json").read_text())
    write_json(b / "env.json", {**environment, "versions": {"torch": "2.11.0"}})
    _, told, measured, around, verdict = sections(out(capsys, "diff", "aaaa0001", "bbbb0002", f"root={tmp_path}"))
    assert [line.split() for line in told.splitlines()[1:]] == [
        ["optimizer._target_", "torch.optim.Adam", "torch.optim.SGD"],
        ["optimizer.betas", "[0.9,0.999]", "[0.9,0.99]"],
        ["optimizer.fused", "false", "-"],
        ["extra", "-", "null"],
    ]
    assert [line.split() for line in measured.splitlines()[1:]] == [
        ["val/loss", "0.5000", "0.5000", "0.0000"],
        ["val/acc", "0.7500", "0.8000", "+0.0500"],
        ["test/acc", "0.7000", "0.7000", "0.0000"],
        ["epochs", "3", "4", "+1"],
        ["new", "-", "1"],
    ]
    assert [line.split() for line in around.splitlines()[1:]] == [["versions.torch", "2.13.0", "2.11.0"]]
    assert verdict == "Whether the difference is real cannot be told: predictions_val.npz of A and B is missing."
    assert str(a) in out(capsys, "diff", str(a), str(b))
    assert "are the same run" in out(capsys, "diff", "aaaa0001", str(a), f"root={tmp_path}", code=2)


def test_diff_says_whether_a_difference_is_chance(tmp_path, capsys):
    """p of McNemar's exact test by counting: 12 rows against 1 are 2 (1 + 13) / 2^13, 2 against 1 are 1."""
    a, b = make(tmp_path, "aaaa0001"), make(tmp_path, "bbbb0002")
    right = np.ones(100, dtype=bool)
    for b_only, a_only, p in ((12, 1, 2 * 14 / 2**13), (2, 1, 1.0)):
        wrong_a, wrong_b = right.copy(), right.copy()
        wrong_a[:b_only] = False
        wrong_b[50 : 50 + a_only] = False
        predict(a, wrong_a)
        predict(b, wrong_b)
        verdict = sections(out(capsys, "diff", str(a), str(b)))[-1]
        assert f"accuracy on val: A {1 - b_only / 100:.4f}, B {1 - a_only / 100:.4f}" in verdict
        assert f"p = {p:.2g}" in verdict
        assert ("unlikely to be chance" in verdict) == (p < 0.05)
    predict(a, right, split="test")
    assert "accuracy on val" in out(capsys, "diff", str(a), str(b)), "only A has met the test split"
    predict(b, right, split="test", rows=np.arange(100) + 1000)
    assert "cannot be told" in sections(out(capsys, "diff", str(a), str(b)))[-1]
    predict(b, right, split="test")
    assert "accuracy on test" in out(capsys, "diff", str(a), str(b))
    (b / "predictions_test.npz").write_bytes(b"x")
    assert "predictions_test.npz cannot be read" in out(capsys, "diff", str(a), str(b))
    environment = json.loads((b / "env.json").read_text())
    write_json(
        b / "env.json",
        {**environment, "data": {"content": "d" * 64, "label_names": ["neg", "pos"], "split": "holdout"}},
    )
    assert f"content is {'c' * 12} and {'d' * 12}" in out(capsys, "diff", str(a), str(b))


def test_best_prints_the_run_and_commands_that_the_doors_take(tmp_path, capsys):
    root = tmp_path / "with space"
    for name, acc in (("aaaa0001", 0.7), ("bbbb0002", 0.9), ("cccc0003", 0.8)):
        make(root, name, result={"val/acc": acc, "val/loss": acc, "odd": acc, "seed": int(name[-1])})
    (make(root, "dddd0004") / "result.json").unlink()
    write_json(make(root, "eeee0005") / "result.json", {"val/acc": None, "val/loss": True})
    lines = out(capsys, "best", "val/acc", f"root={root}").splitlines()
    assert lines[0] == "val/acc 0.9000, the highest of 3 runs"
    best = root / "2026-11-01_12-00-00_bilstm_bbbb0002"
    assert lines[1] == f"{best}  finished"
    assert f"resume    python -m src.train 'resume={best}' trainer.max_epochs=6" in lines
    assert "lowest of 3 runs" in out(capsys, "best", "val/loss", f"root={root}")
    assert "highest of 3 runs" in out(capsys, "best", "val/loss", "mode=max", f"root={root}")
    assert "0.8000, the highest of 1 runs" in out(capsys, "best", "val/acc", "seed=3", f"root={root}")
    assert "Add mode=min or mode=max." in out(capsys, "best", "odd", f"root={root}", code=2)
    assert "did you mean val/acc" in out(capsys, "best", "val/ac", f"root={root}", code=2)
    assert "METRIC is missing" in out(capsys, "best", f"root={root}", code=2)


@pytest.mark.parametrize(
    ("metric", "mode"),
    [("val/loss", "min"), ("test/ppl", "min"), ("val/bits_per_byte", "min"), ("seconds", "min"), ("val/f1", "max"),
     ("val_at_threshold/precision", "max"), ("throughput/tokens_per_second", "max"), ("peak_memory_bytes", "min"),
     ("test/acc_low", "max"), ("threshold", None), ("train/gradient_norm", None)],
)  # fmt: skip
def test_the_name_of_a_metric_tells_its_direction_or_nothing_does(metric, mode):
    assert mode_of(metric) == mode


def test_show_tells_all_of_a_run(tmp_path, capsys):
    run = make(tmp_path, "aaaa0001")
    write_json(run / "status.json", {"state": "failed", "started": DAY, "reason": "UserError: no", "exit_code": 2})
    for step, loss in ((4, 0.6), (8, 0.5), (12, 0.55)):
        folder = step_folder(run / "checkpoints", step)
        folder.mkdir(parents=True)
        (folder / "state.ckpt").write_bytes(b"x" * 5000)
        Manifest(
            path=folder / "state.ckpt", sha256="", bytes=5000, step=step, epoch=step // 4 - 1, monitor="val/loss",
            mode="min", scores={"val/loss": loss},
        ).commit()  # fmt: skip
    os.link(run / "checkpoints" / "step-00000008" / "state.ckpt", run / "checkpoints" / "best.ckpt")
    record_test(run, arguments=["x"], checkpoint_sha256=None, split="test", metrics={})
    (run / "mine.txt").write_text("x")
    shown = " ".join(out(capsys, "show", "aaaa0001", f"root={tmp_path}").split())
    for text in (
        f"run {run} state failed: UserError: no", "command python -m src.train model=bilstm",
        "seed=0 monitor=val/loss", "optimizer Adam lr=0.001 betas=[0.9,0.999]", "model BiLSTM hidden=256",
        "val loss 0.5000 acc 0.7500", "test acc 0.7000", "step 8 of epoch 2 val/loss 0.5000 (best)",
        "step 12 of epoch 3 val/loss 0.5500", "met 1 time(s)", "commit aaaaaaaaaaaa, clean", "torch 2.13.0",
        "checkpoints 1", "foreign mine.txt",
    ):  # fmt: skip
        assert text in shown, text
    assert len(shown) < 4000


def test_show_of_a_bare_or_damaged_folder_says_what_there_is(tmp_path, capsys):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "status.json").write_text("{")
    assert "state        unreadable" in out(capsys, "show", str(tmp_path / "bare"))
    (tmp_path / "bare" / "config.yaml").write_text("a: [")
    assert "cannot be read" in " ".join(out(capsys, "show", str(tmp_path / "bare")).split())
    assert "is no run folder" in out(capsys, "show", "nothing", f"root={tmp_path}", code=2)
    assert "RUN is missing" in out(capsys, "show", code=2)


def test_a_word_with_an_operator_is_a_name_where_there_is_such_a_folder(tmp_path, capsys, monkeypatch):
    name = str(make(tmp_path / "lr=0.1", "run 1").relative_to(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert name in out(capsys, "show", name)
    assert "lr=0.1/run 2 is no option here" in out(capsys, "show", "lr=0.1/run 2", code=2)


def test_sizes_are_told_in_units_of_a_thousand():
    assert [size(count) for count in (0, 999, 1000, 1_250_000, 3e12)] == ["0 B", "999 B", "1.0 kB", "1.2 MB", "3.0 TB"]


def test_tail_of_an_ended_run_prints_its_last_lines_and_its_end(tmp_path, capsys):
    run = make(tmp_path, "aaaa0001")
    rows = [f"{step // 100},{step},{0.9 - step / 1000},," for step in range(9, 400, 10)]
    (run / "metrics.csv").write_text(
        "\n".join(["epoch,step,train/loss,val/loss,test/acc", *rows, "3,399,,0.45,", ",0,,,0.7"]) + "\n3,409,0.1"
    )
    lines = out(capsys, "tail", "aaaa0001", f"root={tmp_path}", "every=100", "lines=5").splitlines()
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "epoch 2 step 199 train/loss 0.7010", "epoch 3 step 299 train/loss 0.6010",
        "epoch 4 step 399 train/loss 0.5010", "epoch 4 step 399 val/loss 0.4500", "test/acc 0.7000",
        "finished, exit code 0",
    ]  # fmt: skip


def test_a_run_that_resumes_takes_rows_back_and_tail_goes_on_with_it(tmp_path):
    """A new column makes the file anew, with the same rows."""
    run = make(tmp_path, "aaaa0001")
    from src.run.index import read_run

    record, lines, file = read_run(run), Lines(every=1), run / "metrics.csv"
    assert lines.new(record) == []
    texts = {
        "step,train/loss\n0,0.5\n1,0.4\n2,0.3\n": ["train/loss 0.5000", "train/loss 0.4000", "train/loss 0.3000"],
        "step,train/loss,val/loss\n0,0.5,\n1,0.4,\n2,0.3,\n2,,0.6\n": ["val/loss 0.6000"],
        "step,train/loss,val/loss\n0,0.5,\n1,0.4,\n": ["goes on after step 1"],
        "step,train/loss,val/loss\n0,0.5,\n1,0.4,\n2,0.25,\n": ["train/loss 0.2500"],
    }
    for text, expected in texts.items():
        file.write_text(text)
        assert lines.new(record) == expected
        assert lines.new(record) == []


def test_tail_follows_a_real_process_until_it_is_gone(tmp_path):
    run = make(tmp_path, "aaaa0001")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_json(run / "status.json", {"state": "running", "started": DAY, **identify(process.pid)})
    (run / "metrics.csv").write_text("epoch,step,val/loss\n0,3,0.6\n")
    follower = subprocess.Popen(
        [sys.executable, "-m", "src.runs", "tail", str(run)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    seen: list[str] = []
    assert follower.stdout is not None
    reader = threading.Thread(target=seen.extend, args=(follower.stdout,))
    reader.start()
    try:
        wait(lambda: len(seen) == 2)
        with open(run / "metrics.csv", "a") as file:
            file.write("1,7,0.5\n2,11")
        wait(lambda: len(seen) == 3)
        assert follower.poll() is None
        process.kill()
        process.wait()
        reader.join(timeout=20)
        assert seen[-1] == "killed: its process is gone\n"
        assert "val/loss 0.5000" in seen[2]
        assert follower.wait() == 0
    finally:
        process.kill()
        follower.kill()
        process.communicate()
        follower.wait()
        reader.join()
        follower.stdout.close()


def wait(fulfilled):
    end = time.monotonic() + 30
    while not fulfilled():
        assert time.monotonic() < end
        time.sleep(0.05)
