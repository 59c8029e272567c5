"""The run index, result.json, predictions and the test-set ledger."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from src.errors import UserError
from src.run.files import write_json
from src.run.folder import RunFolder
from src.run.index import find_run, read_runs
from src.run.ledger import allow, read_ledger, record_test
from src.run.predictions import read_predictions, write_predictions
from src.run.process import identify
from src.run.result import update_result, write_result


def make_run(path: Path, **status: object) -> Path:
    path.mkdir(parents=True)
    write_json(path / "status.json", {"state": "finished", "started": "2025-01-01T00:00:00+00:00", **status})
    return path


def test_runs_and_sweep_runs_are_listed_oldest_first(tmp_path: Path) -> None:
    """Folders inside a run are not searched, links and hidden folders neither."""
    b = make_run(tmp_path / "train" / "b", started="2025-01-02T00:00:00+00:00")
    make_run(tmp_path / "train" / "a", started="2025-01-03T00:00:00+00:00")
    make_run(tmp_path / "sweeps" / "s" / "0", started="2025-01-01T00:00:00+00:00")
    make_run(b / "checkpoints" / "inner")
    make_run(tmp_path / "train" / ".hidden")
    (tmp_path / "train" / "latest").symlink_to(b)
    assert [run.name for run in read_runs(tmp_path)] == ["0", "b", "a"]
    assert read_runs(tmp_path / "nowhere") == []


def test_a_run_whose_process_is_gone_is_shown_as_killed(tmp_path: Path) -> None:
    """A living one is running, and one of another machine is taken at its word."""
    make_run(tmp_path / "alive", state="running", **identify())
    make_run(tmp_path / "dead", state="running", **{**identify(), "process_start": "1"})
    make_run(tmp_path / "far", state="running", **{**identify(), "host": "elsewhere", "process_start": "1"})
    make_run(tmp_path / "odd", state=3)
    (tmp_path / "odd2").mkdir()
    (tmp_path / "odd2" / "status.json").write_text("")
    states = {run.name: run.state for run in read_runs(tmp_path)}
    assert states == {
        "alive": "running", "dead": "killed", "far": "running", "odd": "unreadable", "odd2": "unreadable",
    }  # fmt: skip


def test_a_run_is_found_by_path_name_or_id_and_errors_list_names(tmp_path: Path) -> None:
    """An id that two runs share is refused with both paths."""
    one, two = make_run(tmp_path / "train" / "x_bilstm_aaaa0001"), make_run(tmp_path / "train" / "y_bilstm_bbbb0001")
    for name in (one, one.name, "aaaa0001"):
        assert find_run(name, root=tmp_path).path == one
    with pytest.raises(UserError, match=f"fits 2 runs: {one}, {two}"):
        find_run("0001", root=tmp_path)
    with pytest.raises(UserError, match=r"Nearest: x_bilstm_aaaa0001.*Newest: y_bilstm_bbbb0001, x_bilstm"):
        find_run("x_bilstm_aaab0001x", root=tmp_path)
    with pytest.raises(UserError, match="Train one first"):
        find_run("x", root=tmp_path / "nowhere")


def test_a_run_is_also_found_by_its_beginning_and_a_job_by_its_sweep(tmp_path: Path) -> None:
    """A job's folder is a mere number, of which every sweep has one."""
    for sweep in ("s_00000001", "s_00000002"):
        job = make_run(tmp_path / "sweeps" / sweep / "3")
        write_json(job.parent / "sweep.json", {})
    one, two = make_run(tmp_path / "train" / "monday_x"), make_run(tmp_path / "train" / "sunday_x")
    assert find_run("monday", root=tmp_path).path == one
    assert find_run("sunday_x", root=tmp_path).path == two
    assert find_run("00000001/3", root=tmp_path).path == tmp_path / "sweeps" / "s_00000001" / "3"
    assert find_run("s_00000002/3", root=tmp_path).label == "s_00000002/3"
    with pytest.raises(UserError, match="fits 2 runs"):
        find_run("3", root=tmp_path)


def test_the_model_is_that_of_the_name_or_typed_or_the_module_of_the_network(tmp_path: Path) -> None:
    """A choice is in no config; the folder of a job, or one that was named by hand, does not hold it either."""
    config = "model:\n  _target_: src.model.transformer.Transformer\n"
    for name in ("2026-11-01_12-00-00_transformer_tiny_0123abcd", "typed", "untyped", "bare"):
        make_run(tmp_path / name)
    for name in ("typed", "untyped"):
        (tmp_path / name / "config.yaml").write_text(config)
        (tmp_path / name / "command.txt").write_text("python -m src.train seed=1\n")
    (tmp_path / "typed" / "command.txt").write_text("python -m src.train data=demo_text model=transformer_tiny\n")
    assert {run.name: run.model for run in read_runs(tmp_path)} == {
        "2026-11-01_12-00-00_transformer_tiny_0123abcd": "transformer_tiny",
        "typed": "transformer_tiny", "untyped": "transformer", "bare": "",
    }  # fmt: skip


def test_config_is_read_only_when_asked_for_and_damage_is_named(tmp_path: Path) -> None:
    """A damaged config of one run does not break the list of all."""
    run = make_run(tmp_path / "run")
    (run / "config.yaml").write_text("{")
    record = read_runs(tmp_path)[0]
    with pytest.raises(UserError, match=r"config\.yaml cannot be read"):
        _ = record.config
    (run / "config.yaml").write_text("seed: 1\nlr: 1.0e-05\n")
    assert record.config == {"seed": 1, "lr": 1e-5}
    assert read_runs(make_run(tmp_path / "bare"))[0].config == {}


def test_results_are_flat_plain_and_finite(tmp_path: Path) -> None:
    """NumPy and torch scalars become numbers; NaN becomes null with a note that a later update keeps."""
    path = tmp_path / "result.json"
    values = {"a": np.float32(0.5), "b": torch.tensor(2), "c": np.int64(3), "d": True, "e": None, "f": "x"}
    write_result(path, {**values, "val/loss": float("nan"), "g": float("inf")})
    expected = {"a": 0.5, "b": 2.0, "c": 3, "d": True, "e": None, "f": "x", "val/loss": None, "g": None}
    assert json.loads(path.read_text()) == {**expected, "notes": "val/loss was nan; g was inf"}
    update_result(path, {"a": 1, "h": -float("inf")})
    assert json.loads(path.read_text()) == {
        **expected, "a": 1, "h": None, "notes": "val/loss was nan; g was inf; h was -inf",
    }  # fmt: skip


@pytest.mark.parametrize("value", [[1], {"x": 1}, np.zeros(2), torch.zeros(2), object()])
def test_nested_results_are_refused_by_name(tmp_path: Path, value: object) -> None:
    """The table is flat."""
    with pytest.raises(TypeError, match="confusion"):
        write_result(tmp_path / "r.json", {"confusion": value})


def test_predictions_read_back_equal_and_shapes_are_checked(tmp_path: Path) -> None:
    """Labels and probabilities of different lengths are no predictions."""
    path = tmp_path / "p.npz"
    rows, labels, probabilities = np.array([5, 3]), np.array([0, 1]), np.array([[0.25, 0.75], [1, 0]], dtype="f4")
    write_predictions(path, rows=rows, labels=labels, probabilities=probabilities)
    found = read_predictions(path)
    assert found is not None
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.probabilities, probabilities)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        write_predictions(path, rows=np.arange(3), labels=labels, probabilities=probabilities)
    assert read_predictions(tmp_path / "none.npz") is None
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"p\.npz cannot be read"):
        read_predictions(path)


def test_the_test_set_is_met_once_unless_asked_again(tmp_path: Path) -> None:
    """The second entry is marked, and the first is not."""
    folder = RunFolder(tmp_path)
    allow(folder.path, again=False)
    record = {"checkpoint_sha256": "ab", "split": "test", "metrics": {"test/acc": np.float32(0.5)}}
    assert record_test(tmp_path, arguments=["src.train"], **record)["again"] is False  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"already used.*again=true"):
        allow(tmp_path, again=False)
    allow(tmp_path, again=True)
    record_test(tmp_path, arguments=["src.evaluate", "again=true"], **record)  # type: ignore[arg-type]
    entries = read_ledger(tmp_path)
    assert [(entry["again"], entry["command"]) for entry in entries] == [
        (False, "src.train"), (True, "src.evaluate again=true"),
    ]  # fmt: skip
    assert entries[0]["metrics"] == {"test/acc": 0.5}


def test_half_a_ledger_line_still_counts_and_does_not_swallow_the_next(tmp_path: Path) -> None:
    """A process killed while it wrote had seen the test set."""
    path = RunFolder(tmp_path).ledger
    path.write_text('{"time": "2025')
    with pytest.raises(UserError, match=r"1 time\(s\)"):
        allow(tmp_path, again=False)
    record_test(tmp_path, arguments=["x"], checkpoint_sha256=None, split="test", metrics={})
    assert [entry.get("command") for entry in read_ledger(tmp_path)] == [None, "x"]
