"""The dashboard is built offline from names that the project logs."""

import csv
import json

import pytest

from src.errors import UserError
from src.logger import dashboard
from tests.conftest import ROOT

workspaces = pytest.importorskip("wandb_workspaces.workspaces")


def test_the_specification_is_written_without_a_key(tmp_path, capsys):
    dashboard.main(["project=p", f"spec={tmp_path}/spec.json"])
    text = (tmp_path / "spec.json").read_text()
    json.loads(text)
    for metrics in (*dashboard.CURVES.values(), *dashboard.TRAINING.values()):
        for metric in metrics:
            assert metric in text


def test_every_metric_of_the_dashboard_is_logged_by_a_run(finished_run, language_model_run):
    logged = set()
    for run in (finished_run, language_model_run):
        with open(run / "metrics.csv") as file:
            logged |= set(next(csv.reader(file)))
    assert {name for names in dashboard.CURVES.values() for name in names} | set(dashboard.RESULTS) <= logged
    source = "".join(path.read_text() for room in ("callbacks", "task") for path in (ROOT / "src" / room).glob("*.py"))
    for name in (name for names in dashboard.TRAINING.values() for name in names):
        assert f'log("{name}"' in source, "logged every so many steps, so not by runs as short as these"


@pytest.mark.parametrize(("words", "hint"), [([], "project"), (["project=p", "entty=e"], "entty")])
def test_what_is_typed_wrong_is_refused(words, hint):
    with pytest.raises(UserError, match=hint):
        dashboard.main(words)


def test_without_a_key_one_sentence_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(UserError, match="wandb login"):
        dashboard.main(["project=p"])
