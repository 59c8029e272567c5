"""`python -m src.runs clean`: deletes what was listed and nothing that anyone may need."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from src.errors import UserError
from src.run.contents import examine, remove
from src.run.files import write_json
from src.run.folder import RunFolder
from src.run.manifest import Manifest, step_folder
from src.run.process import identify
from src.run.yaml_text import to_yaml
from src.runs.__main__ import main

OLD = "2025-01-01T00:00:00+00:00"


def make(root, name, *, loss=None, state="finished", init_from=None, monitor="val/loss", data="a", **more):
    """A run folder; `more` goes into its config."""
    folder = root / name
    folder.mkdir(parents=True)
    write_json(folder / "status.json", {"state": state, "started": OLD, "ended": OLD, "host": "elsewhere", "pid": 1})
    config = {"monitor": monitor, "monitor_mode": "max" if monitor == "val/f1" else "min", "init_from": init_from}
    config |= {"model": {"_target_": "src.model.bilstm.BiLSTM"}, "data": {"path": data, "reader": {"_target_": "x"}}}
    (folder / "config.yaml").write_text(to_yaml({**config, **more}))
    if loss is not None:
        write_json(folder / "result.json", {"val/loss": loss, "val/f1": 1 - loss})
    return folder


def clean(*words):
    return main(["clean", *words])


def left(root):
    return {path.name for path in root.iterdir()}


def test_nothing_is_deleted_without_yes_and_what_is_listed_is_what_goes(tmp_path, capsys):
    for number in range(5):
        make(tmp_path, f"r{number}", loss=number / 10)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert clean(f"root={tmp_path}", "keep=2") == 0
    listed = capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    total = sum(len(content) for path, content in before.items() if path.parent.name in ("r2", "r3", "r4"))
    assert f"3 of 5 runs, {total} B would be deleted" in listed
    assert clean(f"root={tmp_path}", "keep=2", "yes=true") == 0
    assert left(tmp_path) == {"r0", "r1"}
    assert capsys.readouterr().out.splitlines()[:-1] == listed.splitlines()[:-1]


def test_yes_alone_is_refused(tmp_path, capsys):
    make(tmp_path, "a", loss=0.1)
    make(tmp_path, "b", loss=0.2)
    assert clean(f"root={tmp_path}", "yes=true") == 2
    assert "say which" in capsys.readouterr().err
    assert left(tmp_path) == {"a", "b"}


def test_the_best_of_each_model_data_and_monitor_stays(tmp_path, capsys):
    """By the run's own monitor and its direction; without a result by its checkpoints."""
    make(tmp_path, "a1", loss=0.5)
    make(tmp_path, "a2", loss=0.4)
    make(tmp_path, "b1", loss=0.9, data="b")
    make(tmp_path, "b2", loss=0.8, data="b")
    make(tmp_path, "f1", loss=0.3, monitor="val/f1")
    make(tmp_path, "f2", loss=0.6, monitor="val/f1")
    make(tmp_path, "m1", loss=0.95, model={"_target_": "src.model.transformer.Transformer"})
    killed = make(tmp_path, "k1", state="killed")
    folder = step_folder(killed / "checkpoints", 4)
    folder.mkdir(parents=True)
    (folder / "state.ckpt").write_bytes(b"x")
    Manifest(
        path=folder / "state.ckpt", sha256="", bytes=1, step=4, epoch=0, monitor="val/loss", mode="min",
        scores={"val/loss": 0.1},
    ).commit()  # fmt: skip
    make(tmp_path, "nan", state="failed")
    assert clean(f"root={tmp_path}", "older=1d", "yes=true") == 0
    assert left(tmp_path) == {"k1", "b2", "f1", "m1"}


def test_living_and_waiting_runs_stay(tmp_path):
    """Prepared ones go when they are asked for by name; running and submitted ones never."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        for state in ("running", "submitted", "prepared"):
            make(tmp_path, state, state=state)
        write_json(make(tmp_path, "here") / "status.json", {"state": "running", **identify(process.pid)})
        write_json(make(tmp_path, "gone") / "status.json", {"state": "running", **identify(), "process_start": "1"})
        (make(tmp_path, "damaged") / "status.json").write_text("")
        assert clean(f"root={tmp_path}", "keep=1", "yes=true") == 0
        assert left(tmp_path) == {"running", "submitted", "prepared", "here", "damaged"}
        for state in ("running", "submitted", "prepared", "unreadable"):
            assert clean(f"root={tmp_path}", f"state={state}", "yes=true") == 0
        assert left(tmp_path) == {"running", "submitted", "here"}
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert clean(f"root={tmp_path}", "state=killed", "yes=true") == 0
    assert left(tmp_path) == {"running", "submitted"}


def test_runs_that_others_name_stay_however_they_are_named(tmp_path):
    root = tmp_path / "outputs"
    names = ["by_name_00000001", "by_path_00000002", "by_id_00000003", "by_file_00000004", "by_branch_00000005"]
    names += ["by_resume_00000006", "by_result_00000007", "by_nobody_00000008"]
    for name in names:
        make(root, name, loss=0.5)
    make(root, "u1", loss=0.9, init_from=names[0])
    make(root, "u2", loss=0.9, init_from=f"outputs/train/{names[1]}")
    make(root, "u3", loss=0.9, init_from="00000003")
    file = {"path": "a", "reader": {"_target_": "x"}, "tokenizer": f"/elsewhere/{names[3]}/tokenizer.json"}
    make(root, "u4", loss=0.9)
    (root / "u4" / "config.yaml").write_text(to_yaml({"monitor": "val/loss", "monitor_mode": "min", "data": file}))
    make(root, "u5", loss=0.9, branch_from=f"{names[4]}@1200")
    make(root, "u6", loss=0.9, resume=f"./outputs/{names[5]}/")
    write_json(make(root, "u7") / "result.json", {"init_from": names[6]})
    make(root, "own_00000009", loss=0.9, resume="outputs/train/own_00000009")
    make(root, "best", loss=0.1)
    assert clean(f"root={root}", "keep=1", "yes=true") == 0
    # u4 is of other data, so the best of its kind.
    assert left(root) == {*names[:7], "best", "u4"}


def sweep_of(root, name, *, states):
    """A sweep of three jobs that has been asked for."""
    sweep = root / "sweeps" / name
    lines = []
    for number, state in enumerate(states):
        make(sweep, str(number), loss=0.5 + number / 10 if state == "finished" else None, state=state)
        lines.append({"job": number, "event": "started", "overrides": [], "trial": None, "time": OLD})
        if state != "running":
            end = {"job": number, "event": "ended", "state": state, "exit_code": 0, "reason": None, "values": None}
            lines.append({**end, "time": OLD})
    write_json(sweep / "sweep.json", {"kind": "grid", "objectives": {}, "jobs": 3})
    (sweep / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return sweep


def test_jobs_of_a_sweep_under_way_stay_and_of_a_done_one_the_best(tmp_path):
    done = sweep_of(tmp_path, "done", states=["finished", "finished", "failed"])
    driven = sweep_of(tmp_path, "driven", states=["finished", "failed"])
    write_json(driven / ".lock", identify())
    working = sweep_of(tmp_path, "working", states=["finished", "failed", "running"])
    broken = sweep_of(tmp_path, "broken", states=["finished", "killed"])
    write_json(broken / ".lock", {**identify(), "process_start": "1"})
    make(tmp_path, "best", loss=0.1)

    def jobs(sweep):
        return {path.parent.name for path in sweep.glob("*/status.json")}

    assert clean(f"root={tmp_path}", "older=1d", "yes=true") == 0
    assert (jobs(done), jobs(driven), jobs(working)) == ({"0"}, {"0", "1"}, {"0", "1", "2"})
    assert jobs(broken) == {"0", "1"}, "an interrupted sweep can go on"
    assert clean(f"root={tmp_path}", "sweep=broken", "yes=true") == 0
    assert jobs(broken) == {"0"}
    assert clean(f"root={tmp_path}", "sweep=driven", "yes=true") == 0
    assert jobs(driven) == {"0", "1"}
    assert (done / "sweep.json").exists()


@pytest.mark.parametrize("stopped", [None, 130, 143])
def test_jobs_of_a_sweep_stay_while_a_stopped_job_of_it_can_go_on(tmp_path, stopped):
    """However many were asked for when it began: a continued search may have been asked for more."""
    sweep = sweep_of(tmp_path, "search", states=["finished", "finished", "finished", "killed"])
    *lines, last = (sweep / "jobs.jsonl").read_text().splitlines()
    if stopped is not None:
        lines.append(json.dumps({**json.loads(last), "exit_code": stopped}))
    (sweep / "jobs.jsonl").write_text("\n".join(lines) + "\n")
    make(tmp_path, "best", loss=0.1)
    for asked in (2, 3, 4):
        write_json(sweep / "sweep.json", {"kind": "search", "objectives": {}, "jobs": asked})
        assert clean(f"root={tmp_path}", "older=1d", "yes=true") == 0
        assert len(list(sweep.glob("*/status.json"))) == 4


def test_links_are_not_followed_and_foreign_files_keep_their_run(tmp_path, capsys):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("x")
    root = tmp_path / "outputs"
    for name in ("file", "folder", "link", "checkpoint", "inner", "wandb"):
        make(root, name, loss=0.5)
    make(root, "best", loss=0.1)
    (root / "file" / "notes.md").write_text("mine")
    (root / "folder" / "figures").mkdir()
    (root / "link" / "logs").mkdir()
    (root / "link" / "logs" / "out").symlink_to(outside)
    (root / "checkpoint" / "checkpoints").mkdir()
    (root / "checkpoint" / "checkpoints" / "kept.ckpt").write_text("x")
    (root / "inner" / "checkpoints" / "step-00000004").mkdir(parents=True)
    (root / "inner" / "checkpoints" / "best.ckpt").symlink_to("step-00000004")
    (root / "wandb" / "wandb").mkdir()
    (root / "wandb" / "wandb" / "anything").write_text("x")
    (root / "alias").symlink_to(root / "best")
    (root / "away").symlink_to(outside)
    assert clean(f"root={root}", "keep=1", "yes=true") == 0
    assert left(root) == {"file", "folder", "link", "checkpoint", "best", "alias", "away"}
    listed = capsys.readouterr().out
    for what in ("notes.md", "figures", "logs/out", "checkpoints/kept.ckpt"):
        assert f"holds what is not its own: {what}" in listed
    assert (outside / "precious.txt").read_text() == "x"


def test_a_link_inside_a_removed_folder_goes_and_its_target_stays(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("x")
    run = make(tmp_path, "run")
    (run / "logs").symlink_to(outside)
    remove(run, state="finished")
    assert left(tmp_path) == {"outside"}
    assert (outside / "precious.txt").exists()


def test_a_run_that_was_taken_or_changed_since_it_was_listed_is_not_removed(tmp_path):
    run = make(tmp_path, "run")
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import sys; from src.run.folder import RunFolder; r = RunFolder.claim({str(run)!r}, "
         "resume=True); print('held', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match="in use"):
        remove(run, state="finished")
    holder.communicate()
    with pytest.raises(UserError, match="changed"):
        remove(run, state="finished")
    assert RunFolder(run).config.exists()
    remove(run, state="running")
    assert left(tmp_path) == set()


def test_what_cannot_be_deleted_is_said_and_the_others_go(tmp_path, capsys, monkeypatch):
    for number in range(3):
        make(tmp_path, f"r{number}", loss=number)
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, new: fail() if self.name == "r1" else rename(self, new))

    def fail():
        raise PermissionError(13, "Permission denied")

    assert clean(f"root={tmp_path}", "keep=1", "yes=true") == 2
    assert "1 of 2 runs were not deleted" in capsys.readouterr().err
    assert left(tmp_path) == {"r0", "r1"}


def test_bytes_are_those_of_du_and_what_a_real_run_writes_is_its_own(finished_run):
    """A file with two names is counted once, as du does."""
    found = examine(finished_run)
    assert found.foreign == []
    du = subprocess.run(["du", "-sb", finished_run], capture_output=True, text=True, check=True).stdout
    folders = [path for path in [finished_run, *finished_run.rglob("*")] if path.is_dir()]
    assert found.bytes == int(du.split()[0]) - sum(folder.stat().st_size for folder in folders)


def test_old_is_counted_from_the_end_of_a_run(tmp_path):
    make(tmp_path, "old", state="failed")
    (tmp_path / "young").mkdir()
    write_json(tmp_path / "young" / "status.json", {"state": "failed", "started": OLD})
    write_json(tmp_path / "odd.json", {})
    os.utime(tmp_path / "odd.json")
    assert clean(f"root={tmp_path}", "older=1d", "yes=true") == 0
    assert left(tmp_path) == {"young", "odd.json"}
    os.utime(tmp_path / "young" / "status.json", (0, 0))
    assert clean(f"root={tmp_path}", "older=1d", "yes=true") == 0
    assert left(tmp_path) == {"odd.json"}


def test_a_part_of_the_folder_is_cleaned_with_an_eye_on_the_rest(tmp_path):
    make(tmp_path / "train", "start", loss=0.5)
    make(tmp_path / "train", "spare", loss=0.6)
    sweep = sweep_of(tmp_path, "done", states=["finished", "finished", "finished"])
    make(tmp_path / "train", "user", loss=0.1, init_from=str(sweep / "2"))
    (sweep / "1" / "config.yaml").write_text(to_yaml({"init_from": "outputs/train/start"}))
    assert clean(f"root={tmp_path / 'train'}", "keep=1", "yes=true") == 0
    assert left(tmp_path / "train") == {"start", "user"}
    assert clean(f"root={sweep}", "keep=1", "yes=true") == 0
    assert {path.parent.name for path in sweep.glob("*/status.json")} == {"0", "2"}


def test_what_a_killed_clean_has_left_goes_with_the_next(tmp_path, monkeypatch):
    make(tmp_path, "best", loss=0.1)
    for name in ("a", "b"):
        make(tmp_path, name, loss=0.5)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove(tmp_path / "a", state="finished")
    (half,) = left(tmp_path) - {"best", "b"}
    assert half.startswith(".a.")
    assert clean(f"root={tmp_path}", "keep=1", "yes=true") == 0
    assert left(tmp_path) == {"best"}


def killed(*arguments, **options):
    raise KeyboardInterrupt
