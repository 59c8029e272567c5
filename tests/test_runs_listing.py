"""`python -m src.runs ls`: what it lists is what reading every file with json and PyYAML finds."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from src.run.files import write_json
from src.run.process import identify
from src.runs.__main__ import COMMANDS, main
from tests.runs_5000 import make

ROOT = Path(__file__).parents[1]
RUNS = 120


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Synthetic runs of all kinds, some damaged."""
    root = tmp_path_factory.mktemp("runs") / "outputs"
    make(root, count=RUNS)
    runs = sorted((root / "train").iterdir())
    (runs[0] / "status.json").write_text("")
    (runs[1] / "config.yaml").write_text("optimizer: {lr: ")
    (runs[2] / "config.yaml").unlink()
    (runs[3] / "result.json").write_text('{"val/f1": 0.')
    (runs[4] / "metrics.csv").write_text("epoch,step,val/f1\n0,3,0.5\n1,7,0.9")
    (runs[4] / "result.json").unlink(missing_ok=True)
    write_json(
        runs[5] / "status.json", {"state": "running", "started": "2026-11-03T00:00:00+00:00", **identify(1 << 22)}
    )
    (root / "train" / "link").symlink_to(runs[6])
    (root / "train" / "notes").mkdir()
    return root


def read(file):
    try:
        value = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return value


@pytest.fixture(scope="module")
def truth(outputs):
    """Every run by its name with all of its values, slowly."""
    found = {}
    for status in sorted(outputs.rglob("status.json")):
        run = status.parent
        if "link" in run.parts:
            continue
        facts, result = read(status), read(run / "result.json")
        if not result:
            lines = list(csv.reader(io.StringIO((run / "metrics.csv").read_text().rpartition("\n")[0])))
            for line in lines[1:]:
                result |= {name: float(cell) for name, cell in zip(lines[0], line, strict=True) if cell}
        config, damaged = {}, False
        try:
            config = yaml.safe_load((run / "config.yaml").read_text())
        except FileNotFoundError:
            pass
        except yaml.YAMLError:
            damaged = True
        name = f"{run.parent.name}/{run.name}" if run.name.isdigit() else run.name
        state = facts.get("state", "unreadable")
        state = "killed" if facts.get("host") == identify()["host"] else state  # its process is none
        found[name] = {
            "config": config,
            "damaged": damaged,
            "result": result,
            "state": state,
            "started": facts.get("started", ""),
        }
    return found


def get(run, key):
    node = run["config"]
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def ls(capsys, *words):
    """The names that are listed, as JSON."""
    assert main(["ls", *words, "format=json"]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


QUESTIONS = {
    "state=failed": lambda name, run: run["state"] == "failed",
    "state!=finished": lambda name, run: run["state"] != "finished",
    "state=unreadable": lambda name, run: run["state"] == "unreadable",
    "model=bilstm": lambda name, run: "_bilstm_" in name or ("/" in name and "BiLSTM" in get(run, "model._target_")),
    "model=trans*": lambda name, run: (
        "_transformer" in name or ("/" in name and "Transformer" in get(run, "model._target_"))
    ),
    "val/f1>0.5": lambda name, run: run["result"].get("val/f1", -1) > 0.5,
    "test/acc<=0.25": lambda name, run: run["result"].get("test/acc", 2) <= 0.25,
    "optimizer.lr<=1e-3": lambda name, run: (get(run, "optimizer.lr") or 1) <= 1e-3,
    "data.batch_size=32": lambda name, run: get(run, "data.batch_size") == 32,
    "data.batch_size!=32": lambda name, run: get(run, "data.batch_size") != 32,
    "data.path=null": lambda name, run: bool(run["config"]) and get(run, "data.path") is None,
    "tags=lm": lambda name, run: "lm" in (get(run, "tags") or []),
    "tags=[]": lambda name, run: get(run, "tags") == [],
    "model.num_heads=4": lambda name, run: get(run, "model.num_heads") == 4,
    "trainer.note=*colon": lambda name, run: (get(run, "trainer.note") or "").endswith("colon"),
    "seed=1": lambda name, run: run["result"].get("seed", get(run, "seed")) == 1,
    "started>2026-10-14": lambda name, run: run["started"][:10] > "2026-10-14",
    "started=2026-10-14": lambda name, run: run["started"][:10] == "2026-10-14",
    "sweep=2026-11-01_12-00-00*": lambda name, run: "/" in name,
    "run=*a": lambda name, run: name.endswith("a"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_filter_finds_the_runs_that_reading_every_file_finds(outputs, truth, capsys, question):
    wanted = {name for name, run in truth.items() if QUESTIONS[question](name, run)}
    assert 0 < len(wanted) < RUNS, "a question that tells runs apart"
    rows, _ = ls(capsys, question, f"root={outputs}")
    assert {row["run"] for row in rows} == wanted
    assert len(rows) == len(wanted)


def test_filters_must_all_fit_and_every_pair_of_them_is_tried(outputs, truth, capsys):
    runs = truth
    questions = list(QUESTIONS)
    for a, b in zip(questions, questions[7:] + questions[:7], strict=True):
        wanted = {name for name, run in runs.items() if QUESTIONS[a](name, run) and QUESTIONS[b](name, run)}
        assert {row["run"] for row in ls(capsys, a, b, f"root={outputs}")[0]} == wanted, (a, b)


def test_without_a_filter_all_are_listed_newest_first_with_all_they_measured(outputs, truth, capsys):
    rows, _ = ls(capsys, f"root={outputs}")
    runs = truth
    assert len(rows) == len(runs) == RUNS
    times = [row["started"] for row in rows if "started" in row]
    assert times == sorted(times, reverse=True)
    for row in rows:
        run = runs[row["run"]]
        assert row["state"] == run["state"]
        assert {key: row[key] for key in run["result"] if key != "run"} == {
            key: value for key, value in run["result"].items() if key != "run"
        }


def test_runs_that_diverged_have_no_place_in_an_order_and_their_json_is_json(tmp_path, capsys):
    for number, value in enumerate(["0.3", "NaN", "0.1", "0.2", "Infinity", "0.5"]):
        run = tmp_path / "train" / f"run{number}"
        run.mkdir(parents=True)
        write_json(run / "status.json", {"state": "finished", "started": f"2026-11-0{number + 1}T00:00:00+00:00"})
        (run / "result.json").write_text(f'{{"val/loss": {value}}}')
    for sign in ("", "-"):
        rows, _ = ls(capsys, f"sort={sign}val/loss", "columns=val/loss", f"root={tmp_path}")
        values = [row["val/loss"] for row in rows]
        assert values == [*sorted([0.1, 0.2, 0.3, 0.5], reverse=bool(sign)), None, None]


@pytest.mark.parametrize("key", ["val/loss", "optimizer.lr", "model"])
def test_rows_are_sorted_up_or_down_and_runs_without_a_value_come_last(outputs, capsys, key):
    for sign in ("", "-"):
        rows, _ = ls(capsys, f"sort={sign}{key}", f"columns={key}", f"root={outputs}")
        values = [row[key] for row in rows if row.get(key) is not None]
        assert values == sorted(values, reverse=bool(sign))
        assert [key in row for row in rows] == sorted((key in row for row in rows), reverse=True)


def test_columns_limit_and_csv(outputs, truth, capsys):
    assert main(["ls", f"root={outputs}", "columns=optimizer.lr,tags,val/f1", "limit=5", "format=csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    runs = truth
    assert len(rows) == 5
    for row in rows:
        lr = get(runs[row["run"]], "optimizer.lr")
        assert row["optimizer.lr"] == ("" if lr is None else str(lr))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["optimizer.lrr=1"], "optimizer.lrr is a key of no run; did you mean optimizer.lr"),
        (["state=failed", "vl/f1>0.9"], "vl/f1 is a key of no run; did you mean val/f1"),
        (["limt=5"], "did you mean limit"),
        (["sort=-val/f2"], "did you mean val/f1"),
        (["columns=val/acc,val/los"], "did you mean val/loss"),
        (["state=crashed"], "state (crashed) must be one of running, finished"),
        (["model>3"], "model>3 compares numbers, and model is"),
        (["val/f1>high"], "must compare with a number"),
        (["started>yesterday"], "must compare with a time, as in 'started>2026-11-01'"),
        (["limit=0"], "limit (0) must be a whole number from 1 on, or all."),
        (["limit=3", "limit=4"], "limit is given twice"),
        (["--limit=5"], "did you mean limit="),
        (["val/f1"], "val/f1 is no folder. A filter is key=value, and one with < or > is put in quotes"),
        (["format=xml"], "format (xml) must be table or json or csv."),
        (["sweeps=true", "state=failed"], "state=failed is for runs"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(outputs, capsys, words, sentence):
    assert main(["ls", *words, f"root={outputs}"]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.out == ""


def test_a_run_with_a_damaged_config_is_left_out_by_name(outputs, truth, capsys):
    damaged = next(name for name, run in truth.items() if run["damaged"])
    _, error = ls(capsys, "optimizer.lr>0", f"root={outputs}")
    assert error == f"Note: left out, as their config.yaml is no YAML: {damaged} (1 in all).\n"


def test_an_empty_list_says_why(outputs, capsys, tmp_path):
    for words, sentence in {
        "model=bilsmt": "No run has model=bilsmt; model is",
        "val/f1>7": "No run has val/f1>7; val/f1 is between 0.0",
        "sweep=none": "No run has sweep=none; sweep is 2026-11-01_12-00-00_",
    }.items():
        rows, error = ls(capsys, words, f"root={outputs}")
        assert rows == []
        assert sentence in error
    rows, error = ls(capsys, "state=failed", "state=finished", f"root={outputs}")
    assert rows == []
    assert f"No run of {RUNS} has all of state=failed state=finished." in error
    assert "There is no run below" in ls(capsys, f"root={tmp_path}")[1]


def test_how_a_run_stands_is_told_beside_its_state(tmp_path, capsys):
    now, config = {"started": "2026-11-03T00:00:00+00:00"}, "monitor: val/loss\n"
    cases = {
        "a": ({"state": "running", **now, **identify()}, "epoch 2, step 7, val/loss 0.5000"),
        "b": ({"state": "running", **now, **identify(), "process_start": "1"}, "its process is gone"),
        "c": ({"state": "failed", **now, "reason": "UserError: no\nmore"}, "UserError: no"),
        "d": ({"state": "killed", **now, "signal": "SIGTERM"}, "SIGTERM"),
        "e": ({"state": "pruned", **now, "reason": "val/loss 0.69 is worse"}, "val/loss 0.69 is worse"),
        "f": ({"state": "submitted", "submitted": "2026-11-03"}, None),
    }
    for name, (status, _) in cases.items():
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "status.json", status)
        (tmp_path / name / "config.yaml").write_text(config)
        (tmp_path / name / "metrics.csv").write_text("epoch,step,val/loss,train/loss\n0,3,0.6,\n1,7,0.5,\n1,9,0.4")
    rows, _ = ls(capsys, f"root={tmp_path}", "columns=state,note")
    notes = {row["run"]: row.get("note") for row in rows}
    assert notes == {name: note for name, (_, note) in cases.items()}
    assert rows[0]["run"] == "f", "what waits comes first"


def run_door(*words, **variables):
    command = [sys.executable, "-m", "src.runs", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **variables})


def test_a_pipe_gets_plain_lines_and_may_close_early(outputs):
    done = run_door("ls", f"root={outputs}", "limit=all")
    assert len(done.stdout.splitlines()) == RUNS + 1
    assert done.stderr == ""
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    header = done.stdout.splitlines()[0]
    assert header.index("state") == done.stdout.splitlines()[1].index("  ") + 2 or header.startswith("run ")
    shell = f"{sys.executable} -m src.runs ls root={outputs} limit=all format=json | head -1; echo ${{PIPESTATUS[0]}}"
    piped = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True)
    assert piped.stdout == "[\n0\n"
    assert piped.stderr == ""


@pytest.mark.parametrize(("columns", "colour"), [(80, True), (200, False)])
def test_a_terminal_gets_a_table_of_its_width(outputs, columns, colour):
    variables = {"COLUMNS": str(columns), "TERM": "xterm", **({} if colour else {"NO_COLOR": "1"})}
    command = f"{sys.executable} -m src.runs ls root={outputs} model=bilstm limit=5"
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, **variables}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0
    assert ("\x1b[3" in done.stdout) == colour
    plain = "".join(part.partition("m")[2] if part[:1] == "[" else part for part in done.stdout.split("\x1b"))
    lines = plain.splitlines()
    assert len(lines) == 7
    assert all(len(line) <= columns for line in lines)
    assert ("started" in lines[0]) == (columns == 200)


def test_the_commands_need_neither_torch_nor_hydra(outputs):
    run = next(path for path in sorted((outputs / "train").iterdir()) if (path / "result.json").exists())
    other = next(path for path in sorted((outputs / "sweeps").glob("*/*")) if (path / "result.json").exists())
    commands = [["ls"], ["ls", "sweeps=true"], ["show", str(run)], ["diff", str(run), str(other)], ["best", "val/f1"]]
    commands += [["clean"], ["tail", str(run)]]
    code = (
        "import sys; from src.runs.__main__ import main\n"
        f"for words in {commands!r}: assert main([*words, 'root={outputs}']) == 0, words\n"
        "print({'torch', 'lightning', 'hydra', 'omegaconf', 'wandb', 'optuna'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_every_command_has_help_and_a_wrong_one_is_refused(capsys):
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        assert f"python -m src.runs {name}" in capsys.readouterr().out
    assert main([]) == 0
    help_ = capsys.readouterr().out
    assert all(f"  {name} " in help_ for name in COMMANDS)
    assert main(["list"]) == 2
    assert "list is no command" in capsys.readouterr().err


def test_sweeps_are_listed_with_their_jobs_and_the_best(outputs, capsys, tmp_path):
    sweep = tmp_path / "sweeps" / "2026-11-02_10-00-00_aaaa0001"
    shutil.copytree(next((outputs / "sweeps").iterdir()), sweep)
    line = {"job": 0, "event": "started", "overrides": ["seed=0"], "trial": None, "time": "2026-11-02"}
    ends = [("finished", 0.5), ("failed", None), ("pruned", None), ("finished", 0.25), ("finished", 0.25)]
    lines = []
    for job, (state, value) in enumerate(ends):
        lines.append({**line, "job": job, "overrides": [f"seed={job}"]})
        end = {"exit_code": 0, "reason": None, "time": "2026-11-02"}
        lines.append({"job": job, "event": "ended", "state": state, "values": value and [value], **end})
    (sweep / "jobs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines) + '{"job": 5, "ev')
    facts = {"kind": "search", "objectives": {"val/loss": "minimize"}, "jobs": 8, "created": "2026-11-02"}
    write_json(sweep / "sweep.json", facts)
    expected = {"sweep": sweep.name, "kind": "search", "state": "interrupted", "jobs": 8, "done": 4, "failed": 1}
    expected |= {
        "objective": "val/loss minimize",
        "best": 0.25,
        "job": 3,
        "overrides": "seed=3",
        "created": "2026-11-02",
    }
    for words in (["sweeps=true", f"root={tmp_path}"], [str(sweep.parent)]):
        rows, _ = ls(capsys, *words)
        assert rows == [expected]
    write_json(sweep / ".lock", identify())
    assert ls(capsys, str(sweep.parent))[0][0]["state"] == "running"
    write_json(sweep / "sweep.json", {**facts, "jobs": 5, "objectives": {"val/f1": "maximize"}})
    row = ls(capsys, str(sweep.parent))[0][0]
    assert (row["state"], row["best"], row["job"]) == ("finished", 0.5, 0)
    write_json(sweep / "sweep.json", {**facts, "jobs": 8, "axes": {"seed": "int(0, 4)"}})
    row = ls(capsys, str(sweep.parent))[0][0]
    assert (row["state"], row["jobs"]) == ("finished", 5), "its space has no point left"
    write_json(sweep / "sweep.json", {**facts, "jobs": 2})
    row = ls(capsys, str(sweep.parent))[0][0]
    assert (row["state"], row["jobs"]) == ("finished", 5), "more were asked for when it was continued"
    assert {row["run"] for row in ls(capsys, str(sweep))[0]} == {
        f"{sweep.name}/{path.parent.name}" for path in sweep.glob("*/status.json")
    }
