"""Another threshold for a finished run: chosen on its kept predictions, and test stays as it was met."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.errors import UserError
from src.evaluation.thresholds import F1, Cost
from src.launch.choosing import choose_again, keep_result, known_threshold, rule_of
from src.launch.differences import find_changes
from src.launch.predicting import choose
from src.run.folder import RunFolder
from src.run.ledger import record_test
from src.run.predictions import read_predictions, write_predictions
from src.run.result import write_result

COST = {"_target_": "src.evaluation.thresholds.Cost", "false_positive": 1, "false_negative": 5}
PRECISION = {"_target_": "src.evaluation.thresholds.Precision", "wanted": 1.0}
MEASURED = {"val/acc": 0.75, "test/acc": 0.7, "threshold": 0.4, "val_at_threshold/f1": 0.8, "test_at_threshold/f1": 0.7}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """What training with threshold=f1 leaves, of what is read here; one that was trained before there was a choice."""
    folder = RunFolder(tmp_path)
    folder.status.write_text('{"state": "finished"}')
    folder.config.write_text("task: {_target_: src.task.classifier.Classifier, num_classes: 2}\n")
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    positive = np.clip(0.5 + 0.2 * (2 * labels - 1) + 0.3 * generator.normal(size=40), 0, 1)
    probabilities = np.stack([1 - positive, positive], axis=1)
    write_predictions(folder.predictions_val, rows=np.arange(40), labels=labels, probabilities=probabilities)
    write_result(folder.result, MEASURED)
    record_test(folder.path, arguments=["train"], checkpoint_sha256=None, split="test", metrics={"test/acc": 0.7})
    return folder


def result_of(run: RunFolder) -> dict[str, Any]:
    return json.loads(run.result.read_text())


def again(run: RunFolder, threshold: dict[str, Any]) -> None:
    choose_again(run_name=str(run.path), threshold=threshold, data_path=None)


def test_another_rule_is_applied_to_val_and_test_is_not_looked_at(run: RunFolder, capsys: Any) -> None:
    ledger = run.ledger.read_text()
    again(run, COST)
    found, kept = result_of(run), read_predictions(run.predictions_val)
    assert kept is not None
    threshold, positive = found["threshold"], kept.probabilities[:, 1]
    wrong = (positive[kept.labels == 0] >= threshold).sum() + 5 * (positive[kept.labels == 1] < threshold).sum()
    assert found["val_at_threshold/cost"] == wrong
    assert found["threshold_rule"] == "cost, false_positive 1, false_negative 5"
    assert (found["val/acc"], found["test/acc"]) == (0.75, 0.7)
    # Those were at the threshold of before.
    assert not any(name.startswith("test_at_threshold") for name in found)
    said = capsys.readouterr().out
    assert "0.4000: those numbers stay in" in said
    assert f"threshold {threshold:.4f}, chosen on val by cost" in said
    assert run.ledger.read_text() == ledger
    assert run.report.exists()


def test_what_one_rule_left_does_not_outlive_the_next(run: RunFolder, capsys: Any) -> None:
    again(run, COST)
    run.predictions_val.unlink()
    half = np.full((4, 2), 0.5)
    write_predictions(run.predictions_val, rows=np.arange(4), labels=np.array([0, 1, 0, 1]), probabilities=half)
    again(run, PRECISION)
    found = result_of(run)
    assert found["threshold"] is None
    assert found["threshold_note"] == "none has a precision of 1 on val, the highest is 0.5000"
    assert not any("at_threshold" in name for name in found)
    assert "no threshold: none has a precision of 1" in capsys.readouterr().out
    with pytest.raises(UserError, match="none has a precision of 1 on val"):
        choose("val", run)
    again(run, COST)
    assert "threshold_note" not in result_of(run)
    assert choose("val", run) == result_of(run)["threshold"]


def test_test_is_measured_at_the_threshold_of_the_runs_own_rule(run: RunFolder) -> None:
    """One that another rule has chosen since is not taken in silence."""
    assert known_threshold(run, rule_of({}), typed=False) == {"threshold": 0.4}
    again(run, COST)
    with pytest.raises(UserError, match=r"chosen by another rule \(cost, .*than that of the run \(f1\)"):
        known_threshold(run, F1(), typed=False)
    rule = Cost(false_positive=1, false_negative=5)
    kept = known_threshold(run, rule, typed=False)
    assert kept.keys() == {"threshold", "threshold_rule"}
    assert known_threshold(run, rule, typed=True).items() > kept.items()
    # Numbers of test at this threshold stay when the same one is chosen once more.
    keep_result(run, kept | {"test_at_threshold/cost": 3.0})
    again(run, COST)
    assert result_of(run)["test_at_threshold/cost"] == 3.0
    again(run, {**COST, "false_negative": 5.5})
    assert "test_at_threshold/cost" not in result_of(run)


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        ({**COST, "false_negative": 0}, r"threshold.false_negative \(0\) must be a number > 0"),
        ({**COST, "false_negativ": 1}, "threshold.false_negativ"),
        ({**COST, "false_negative": float("inf")}, "finite"),
        ({**PRECISION, "wanted": 1.5}, r"threshold.wanted \(1.5\)"),
        ({"_target_": "os.system"}, "os.system"),
        ({"_target_": "src.evaluation.curves.roc_auc"}, "must begin with src.evaluation.thresholds"),
    ],
)
def test_a_wrong_rule_is_refused_by_its_key(run: RunFolder, threshold: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        again(run, threshold)
    assert result_of(run) == MEASURED


def test_what_has_no_effect_or_no_predictions_is_refused(run: RunFolder) -> None:
    with pytest.raises(UserError, match=r"data_path \(reviews\) has no effect"):
        choose_again(run_name=str(run.path), threshold=COST, data_path="reviews")
    with pytest.raises(UserError, match="run is missing"):
        choose_again(run_name=None, threshold=COST, data_path=None)
    run.predictions_val.write_bytes(b"PK")
    with pytest.raises(UserError, match=r"cannot be read.*src.evaluate run="):
        again(run, COST)
    run.predictions_val.unlink()
    with pytest.raises(UserError, match=r"no predictions_val.npz"):
        again(run, COST)
    run.config.write_text("task: {_target_: src.task.language_model.LanguageModel}\n")
    with pytest.raises(UserError, match="threshold=cost cuts between two classes"):
        again(run, COST)


def test_a_run_saved_before_there_was_a_choice_goes_on_with_f1() -> None:
    """And with nothing else."""
    saved = {"data": {"batch_size": 4}, "trainer": {"devices": 1}}
    f1 = {**saved, "threshold": {"_target_": "src.evaluation.thresholds.F1"}}
    assert find_changes(saved, f1, named=[], place="there") == find_changes(f1, saved, named=[], place="there") == []
    with pytest.raises(UserError, match=r"threshold._target_ was src.evaluation.thresholds.F1, is .*Cost"):
        find_changes(saved, {**saved, "threshold": COST}, named=[], place="there")


def test_a_threshold_for_a_language_model_is_refused_as_one(run):
    run.config.write_text("task: {_target_: src.task.language_model.LanguageModel}\n")
    rule = {"_target_": "src.evaluation.thresholds.F1"}
    with pytest.raises(UserError, match="cuts between two classes and this is a language model"):
        choose_again(run_name=str(run.path), threshold=rule, data_path=None)
