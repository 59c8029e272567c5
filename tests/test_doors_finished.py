"""The doors that open a finished run: evaluate, predict, report."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from src.errors import UserError
from src.launch.build import build_network, build_task
from src.launch.predicting import Options, predict
from src.run.index import read_config
from tests.conftest import ROOT, SMALL, door


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy, so that what a test adds to the folder stays its own."""
    return shutil.copytree(finished_run, tmp_path / "run")


def test_evaluate_gives_the_numbers_that_training_ended_with(run):
    """Of a run that was saved before there was a choice of the threshold, too: then it was the best F1."""
    before = json.loads((run / "result.json").read_text())
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("threshold:\n  _target_: src.evaluation.thresholds.F1\n", ""))
    assert "threshold" not in config.read_text()
    older = {name: value for name, value in before.items() if name != "threshold_rule"}
    (run / "result.json").write_text(json.dumps(older))
    done = door("evaluate", f"run={run}", "split=val")
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "result.json").read_text()) == before


def test_evaluate_chooses_another_threshold_from_the_predictions_alone(run):
    shutil.rmtree(run / "checkpoints")
    ledger = (run / "test_ledger.jsonl").read_text()
    done = door("evaluate", f"run={run}", "threshold=cost", "threshold.false_negative=3")
    assert done.returncode == 0, done.stderr
    result = json.loads((run / "result.json").read_text())
    assert result["threshold_rule"] == "cost, false_positive 1, false_negative 3"
    assert f"threshold {result['threshold']:.4f}, chosen on val by cost" in done.stdout
    assert "val_at_threshold/cost" in result
    assert (run / "test_ledger.jsonl").read_text() == ledger
    for typed, word in (("threshold=0.3", "cost, f1, precision"), ("threshold.wanted=0.8", "threshold=precision")):
        refused = door("evaluate", f"run={run}", typed)
        assert refused.returncode == 2
        assert word in refused.stderr


def test_a_second_look_at_test_needs_again_and_is_marked(run):
    refused = door("evaluate", f"run={run}", "split=test")
    assert refused.returncode == 2
    assert "again=true" in refused.stderr
    allowed = door("evaluate", f"run={run}", "split=test", "again=true", "threshold=cost")
    assert allowed.returncode == 0, allowed.stderr
    lines = (run / "test_ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["again"] for line in lines] == [False, True]
    result = json.loads((run / "result.json").read_text())
    assert result["test/again"] is True
    # Chosen on val, which was not measured again, and applied to test.
    predictions = np.load(run / "predictions_test.npz")
    called, labels = predictions["probabilities"][:, 1] >= result["threshold"], predictions["labels"]
    cost = (called & (labels == 0)).sum() + 5 * (~called & (labels == 1)).sum()
    assert json.loads(lines[-1])["metrics"]["test_at_threshold/cost"] == result["test_at_threshold/cost"] == cost


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["split=test", "again=no"], "again (no) must be true or false."),
        (["split=test", "again=maybe"], "again (maybe) must be true or false."),
        (["split=val", "again=true"], "again (true) has no effect on split=val"),
    ],
)
def test_again_is_true_or_false_and_only_for_test(run, arguments, words):
    ledger = (run / "test_ledger.jsonl").read_text()
    refused = door("evaluate", f"run={run}", *arguments)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert (run / "test_ledger.jsonl").read_text() == ledger


def test_evaluate_refuses_other_data_than_the_run_was_trained_on(run):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("num_reviews: 400", "num_reviews: 402"))
    done = door("evaluate", f"run={run}")
    assert done.returncode == 2
    assert "other data" in done.stderr


def test_evaluate_refuses_a_hostile_saved_config(run):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("src.model.bilstm.BiLSTM", "os.system"))
    done = door("evaluate", f"run={run}")
    assert done.returncode == 2
    assert "os.system" in done.stderr


def test_an_unknown_run_is_answered_in_a_sentence():
    for name in ("evaluate", "predict"):
        done = door(name, "run=no-such-run")
        assert done.returncode == 2
        assert "no-such-run" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "text", ["good", "I loved it, really: don't miss it", 'a=b, ${x} [1] {y} \\\' "quoted"', "caf\u00e9 \U0001f600"]
)
def test_predict_takes_any_sentence_as_it_is_typed(finished_run, text):
    done = door("predict", f"run={finished_run}", f"text={text}", "format=json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["text"] == text
    assert answer["label"] in ("neg", "pos")
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)


def test_predict_answers_a_file_and_standard_input_alike_in_order(finished_run, tmp_path):
    texts = ["not a bad film at all", "", "the plot is dull, but I was moved", "good " * 500]
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts) + "\n")
    by_file = door("predict", f"run={finished_run}", f"file={file}", "format=json", "batch_size=3")
    by_input = door("predict", f"run={finished_run}", "format=json", input=file.read_text())
    assert by_file.returncode == by_input.returncode == 0, by_file.stderr + by_input.stderr
    left, right = ([json.loads(line) for line in done.stdout.splitlines()] for done in (by_file, by_input))
    assert [answer["text"] for answer in left] == texts
    # A review's answer does not depend on the batch it came in.
    for a, b in zip(left, right, strict=True):
        assert a["probabilities"] == pytest.approx(b["probabilities"], abs=1e-5)


def test_predict_can_use_the_threshold_chosen_on_validation(finished_run):
    done = door("predict", f"run={finished_run}", "text=good", "threshold=val")
    assert done.returncode == 0, done.stderr
    label, probability, text = done.stdout.rstrip("\n").split("\t")
    assert (label in ("neg", "pos"), text) == (True, "good")
    assert 0 <= float(probability) <= 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["text=a", "file=b"], "choose one"),
        (["file=/nope.txt"], "/nope.txt"),
        (["text=a", "format=xml"], "format (xml)"),
        (["text=a", "threshold=2"], "threshold (2)"),
        (["text=a", "treshold=0.5"], "threshold"),
    ],
)
def test_predict_refuses_in_a_sentence(finished_run, arguments, word):
    done = door("predict", f"run={finished_run}", *arguments)
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_predict_drops_the_byte_order_mark_of_standard_input_and_names_it_when_it_is_not_utf_8(finished_run):
    command = [sys.executable, "-m", "src.predict", f"run={finished_run}", "format=json"]
    marked = subprocess.run(command, cwd=ROOT, input="\ufeffgood\n".encode(), capture_output=True, check=True)
    assert json.loads(marked.stdout)["text"] == "good"
    latin = subprocess.run(command, cwd=ROOT, input=b"caf\xe9\n", capture_output=True, check=False)
    assert latin.returncode == 2
    assert latin.stderr.startswith(b"standard input is not UTF-8")


def test_predict_refuses_a_threshold_for_three_classes(run, monkeypatch):
    config = run / "config.yaml"
    text = config.read_text().replace("num_classes: 2", "num_classes: 3").replace("  - pos\n", "  - pos\n  - mixed\n")
    config.write_text(text)
    task = build_task(read_config(run), build_network(read_config(run)))
    monkeypatch.setattr("src.launch.predicting.load_task", lambda *_: task)
    with pytest.raises(UserError, match=r"threshold \(0.99\) cuts between two"):
        predict(Options(run=str(run), text="good", file=None, format="text", cut=0.99, batch_size=1))


def test_report_writes_the_page_again(run):
    (run / "report.html").unlink()
    done = door("report", str(run))
    assert done.returncode == 0, done.stderr
    assert (run / "report.html").stat().st_size > 1000


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "check"])
def test_a_reader_who_leaves_ends_no_work_and_gives_no_traceback(run, tmp_path, name):
    new = [*SMALL, f"paths.output_dir={tmp_path}", f"hydra.run.dir={tmp_path}/new"]
    arguments = {"train": new, "check": new, "evaluate": [f"run={run}"], "predict": [f"run={run}", "text=good"]}
    command = [sys.executable, "-m", f"src.{name}", *arguments[name]]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert "Error" not in said
    if name == "train":
        assert json.loads((tmp_path / "new" / "status.json").read_text())["state"] == "finished"
