"""W&B gets all of a run, and nothing that happens to W&B reaches the training."""

import csv
import hashlib
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from src.logger import sync as syncing
from src.logger.record import Record, read_record
from src.logger.wandb import Wandb
from src.run.index import read_config
from tests.conftest import ROOT, SMALL, door

if importlib.util.find_spec("wandb") is None:
    pytest.skip("wandb is not installed", allow_module_level=True)

from tests.wandb_file import read

KEY = "0123456789abcdef0123456789abcdef01234567"


def weights(run):
    state = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in state.values())).hexdigest()


def train(folder, *arguments, **environment):
    where = (f"hydra.run.dir={folder}", f"paths.output_dir={folder.parent}/outputs")
    return door("train", *SMALL, *where, *arguments, environment=environment)


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """A run that keeps what wandb would send."""
    folder = tmp_path_factory.mktemp("offline") / "run"
    done = train(folder, "logger=wandb_offline", "tags=[small]", WANDB_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    return folder


def number(cell):
    return float(cell == "True") if cell in ("True", "False") else float(cell)


def by_step(rows):
    """Rows of one step joined, numbers only."""
    joined = {}
    for step, row in rows:
        joined.setdefault(int(step), {}).update(row)
    return joined


def test_an_offline_run_holds_history_config_and_summary_completely(offline):
    history, config, summary = read(offline / "wandb")
    with open(offline / "metrics.csv") as file:
        lines = [(line.pop("step"), line) for line in csv.DictReader(file)]
    expected = by_step((step, {key: number(cell) for key, cell in line.items() if cell}) for step, line in lines)
    names = {name for row in expected.values() for name in row}
    found = by_step((row["_step"], {key: row[key] for key in row if key in names}) for row in history)
    assert found == expected
    for key, value in {"seed": 0, "optimizer.lr": read_config(offline)["optimizer"]["lr"], "tags": ["small"]}.items():
        assert config[key] == value
    result = json.loads((offline / "result.json").read_text())
    assert {key: summary.get(key) for key in result} == result
    for split in ("val", "test"):
        for table in ("confusion_matrix", "precision_recall", "roc"):
            assert summary[f"{split}/{table}._type"] == "table-file"


def test_no_secret_lies_in_any_file(offline):
    for path in offline.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_a_run_with_wandb_has_the_weights_of_one_without(offline, finished_run):
    assert weights(offline) == weights(finished_run)


@pytest.mark.parametrize("trouble", ["dead server", "no key", "full disk"])
def test_trouble_with_wandb_costs_the_training_nothing(trouble, finished_run, tmp_path):
    folder, environment = tmp_path / "run", {"WANDB_BASE_URL": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    if trouble != "no key":
        environment["WANDB_API_KEY"] = KEY
    if trouble == "full disk":
        if os.geteuid():
            pytest.skip("only root can mount a small disk")
        (folder / "wandb").mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", folder / "wandb"], check=True)
    try:
        done = train(folder, "logger=wandb", **environment)
    finally:
        if trouble == "full disk":
            subprocess.run(["umount", "--lazy", folder / "wandb"], check=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("W&B: ") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert weights(folder) == weights(finished_run)
    if trouble != "full disk":
        assert read_record(folder / "wandb" / "record.jsonl")[-1]["event"] == "end"


def run_folder(folder):
    """The files that the sender reads."""
    folder.mkdir()
    (folder / "config.yaml").write_text("optimizer:\n  lr: 0.1\nseed: 0\n")
    (folder / "command.txt").write_text("python -m src.train seed=0\n")
    (folder / "status.json").write_text('{"state": "finished"}')
    (folder / "result.json").write_text('{"test/acc": 0.5}')
    return folder


def logger(folder, **settings):
    known = dict(project="p", entity=None, id="abcd1234", group=None, job_type="train", tags=[], artifact=False)
    return Wandb(folder=str(folder), **{**known, "mode": "offline", **settings})


def children(pid):
    """Every process below one, by /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid:
                found += [int(entry.name), *children(int(entry.name))]
    return found


def is_service(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("wandb-core")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_killed_service_loses_nothing_and_sync_sends_the_rest_once(tmp_path, capfd):
    folder = run_folder(tmp_path / "run")
    wandb = logger(folder)
    wandb.log_metrics({"train/loss": 1.0}, step=0)
    deadline = time.monotonic() + 60
    services = []
    while not services and time.monotonic() < deadline:
        services = [pid for pid in children(wandb.worker.process.pid) if is_service(pid)]
        time.sleep(0.05)
    assert services, "wandb has a service of its own"
    for pid in services:
        os.kill(pid, signal.SIGKILL)
    for step in range(1, 6):
        wandb.log_metrics({"train/loss": 1.0 / (step + 1)}, step=step)
    wandb.conclude()
    assert capfd.readouterr().err.count("W&B: ") == 1
    syncing.sync([folder], mode="offline")
    syncing.sync([folder], mode="offline")
    assert capfd.readouterr().out.splitlines() == [f"{folder}: sent", f"{folder}: sent before"]
    history, config, summary = read(folder / "wandb")
    assert [row["train/loss"] for row in history] == [1.0 / (step + 1) for step in range(6)]
    assert config["optimizer.lr"] == 0.1
    assert summary["test/acc"] == 0.5


def test_a_server_that_never_answers_keeps_nobody_waiting(tmp_path, monkeypatch, capfd):
    folder = run_folder(tmp_path / "run")
    stuck = [sys.executable, "-c", "import signal; signal.pause()"]
    monkeypatch.setattr(
        "src.logger.worker.launch",
        lambda *_, **__: subprocess.Popen(stuck, stdin=subprocess.PIPE, start_new_session=True),
    )
    wandb = logger(folder, mode="online")
    wandb.log_metrics({"train/loss": 1.0}, step=0)
    process = wandb.worker.process
    wandb.worker.stop(seconds=0.2)
    assert process.returncode == -signal.SIGKILL
    assert "did not finish within" in capfd.readouterr().err


def test_a_killed_training_leaves_no_process_and_its_rows_are_sent(tmp_path):
    folder = run_folder(tmp_path / "run")
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.test_logger_wandb import logger
from pathlib import Path
wandb = logger(Path({str(folder)!r}))
wandb.log_metrics({{"train/loss": 0.5}}, step=7)
print(wandb.worker.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    sender, deadline = int(done.stdout), time.monotonic() + 60
    while Path(f"/proc/{sender}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{sender}").exists()
    history, _, _ = read(folder / "wandb")
    assert [row["train/loss"] for row in history] == [0.5]


def test_a_run_that_goes_on_forgets_what_it_will_log_again(tmp_path):
    folder = run_folder(tmp_path / "run")
    record = Record(folder)
    record.append("run", config={})
    for step in (0, 50, 100):
        record.append("history", step=step, values={"train/loss": 0.1})
    record.append("history", step=100, values={"test/acc": 0.1})
    record.append("summary", values={})
    record.append("end")
    with open(record.path, "a") as file:
        file.write('{"event": "his')  # cut short by a kill
    record.cut(step=100)
    assert [event.get("step") for event in read_record(record.path)] == [None, 0, 50]


def test_numbers_that_are_none_come_through(tmp_path):
    folder = run_folder(tmp_path / "run")
    wandb = logger(folder)
    wandb.log_metrics({"val/loss": float("nan"), "val/ppl": float("inf")}, step=3)
    wandb.conclude()
    history, _, _ = read(folder / "wandb")
    assert math.isnan(float(history[0]["val/loss"]))
    assert float(history[0]["val/ppl"]) == math.inf
