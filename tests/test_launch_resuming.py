"""`resume` from the command line's point of view: what continues, what has nothing left to do, what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from src.errors import UserError
from src.launch import resuming
from src.launch.preflight import preflight
from src.launch.training import conclude, train_run
from src.run.folder import RunFolder
from src.run.index import read_config
from src.run.manifest import committed
from src.run.retention import point_names
from src.run.signals import listen
from tests.conftest import SMALL

TIMES = ("throughput/", "seconds", "peak_memory_bytes", "run")


@pytest.fixture(scope="module")
def train(compose, tmp_path_factory):
    """`train(folder, "key=value", ...)`: what the door does with these arguments; True if there was anything to do."""
    outputs = tmp_path_factory.mktemp("outputs")

    def train(folder, *typed, small=True):
        arguments = [*(SMALL if small else []), f"paths.output_dir={outputs}", *typed]
        base, place = resuming.base_config(compose(*arguments), typed=list(typed), folder=Path(folder))
        opened = resuming.open(preflight(base, run_dir=str(place)), place)
        if not opened.finished:
            with listen() as signals:
                train_run(opened.config, opened.run, signals=signals)
        elif not opened.run.report.exists():
            conclude(opened.run)
        return not opened.finished

    return train


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    """A finished run, read and copied by the tests."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(folder, "callbacks.checkpoint.every_steps=2", "callbacks.checkpoint.keep=20", "resume=auto")
    return folder


COMMAND = ("callbacks.checkpoint.every_steps=2", "callbacks.checkpoint.keep=20", "resume=auto")


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the finished run under its own name, with the paths of its config."""
    folder = shutil.copytree(trained, tmp_path / "run")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace(str(trained), str(folder)))
    return folder


def kill(folder, *, step=None):
    """Leave the folder as a kill does: behind the checkpoint of `step`, or behind the end of training."""
    status = json.loads((folder / "status.json").read_text())
    del status["ended"]
    (folder / "status.json").write_text(json.dumps({**status, "state": "running", "pid": 2**22 + 1}))
    (folder / "result.json").unlink()
    (folder / "report.html").unlink()
    if step is not None:
        for name in ("test_ledger.jsonl", "predictions_val.npz", "predictions_test.npz"):
            (folder / name).unlink()
        for manifest in committed(folder / "checkpoints"):
            if manifest.step > step:
                shutil.rmtree(manifest.path.parent)
        for name in ("last.ckpt", "best.ckpt"):
            (folder / "checkpoints" / name).unlink(missing_ok=True)
        point_names(folder / "checkpoints")


def result(folder):
    found = json.loads((folder / "result.json").read_text())
    return {name: value for name, value in found.items() if not name.startswith(TIMES)}


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("step", [4, 5, 8])
def test_a_killed_run_ends_with_the_result_of_a_whole_one(train, trained, run, step):
    kill(run, step=step)
    assert train(run, *COMMAND)
    assert result(run) == result(trained)
    assert len((run / "test_ledger.jsonl").read_text().splitlines()) == 1
    assert (run / "report.html").exists()


def test_a_run_killed_behind_its_training_does_only_the_rest(train, trained, run):
    """The test split was measured; its entry in the ledger is the result, and no second look."""
    kill(run)
    entry = (run / "test_ledger.jsonl").read_text()
    assert train(run, *COMMAND)
    assert result(run) == result(trained)
    assert (run / "test_ledger.jsonl").read_text() == entry
    lines = (run / "metrics.csv").read_text().splitlines()
    assert len(lines) == len((trained / "metrics.csv").read_text().splitlines())


def test_a_run_killed_in_its_report_gets_it_and_keeps_nothing_of_the_attempt(train, run):
    (run / "report.html").rename(run / ".report.html.0de9f6d0.tmp")
    assert not train(run, *COMMAND)
    assert (run / "report.html").exists()
    assert list(run.glob(".*.tmp")) == []


def test_a_finished_run_is_left_alone(train, run):
    before = files(run)
    for mode in ("auto", "must", str(run)):
        assert not train(run, *COMMAND[:2], f"resume={mode}", small=mode != str(run))
    assert files(run) == before


def test_a_finished_run_goes_on_under_its_own_config_with_a_typed_change(train, trained, run):
    """No other argument is repeated. The test split has been seen by other weights; that needs again=true."""
    assert train("elsewhere", f"resume={run}", "trainer.max_epochs=3", small=False)
    assert (result(run)["epochs"], result(trained)["epochs"]) == (3, 2)
    config = read_config(run)
    assert (config["trainer"]["max_epochs"], config["resume_changes"]) == (3, ["trainer.max_epochs"])
    assert config["data"]["reader"]["num_reviews"] == 400
    assert len((run / "test_ledger.jsonl").read_text().splitlines()) == 1


def test_auto_starts_where_nothing_is_and_must_does_not(train, tmp_path):
    with pytest.raises(UserError, match="found no checkpoint"):
        train(tmp_path / "new", "resume=must")
    assert not (tmp_path / "new").exists()
    # Killed before its first checkpoint, after it had logged.
    folder = RunFolder.claim(tmp_path / "new")
    folder.metrics.write_text("step,train/loss\n0,1.0\n")
    folder.release()
    status = json.loads(folder.status.read_text())
    folder.status.write_text(json.dumps({**status, "pid": 2**22 + 1}))
    assert train(tmp_path / "new", "resume=auto", "trainer.max_epochs=1", "test=false")
    assert "\n0,1.0\n" not in folder.metrics.read_text()


def test_auto_starts_with_another_config_where_nothing_was_trained(compose, run):
    """As where the first command was refused only when its data was read."""
    shutil.rmtree(run / "checkpoints")
    (run / "status.json").write_text(json.dumps({**json.loads((run / "status.json").read_text()), "state": "failed"}))
    config = preflight(compose(*SMALL, "optimizer.lr=0.5", "resume=auto"), run_dir=str(run))
    opened = resuming.open(config, run)
    opened.run.release()
    assert (opened.finished, opened.config["optimizer"]["lr"]) == (False, 0.5)


@pytest.mark.parametrize("typed", ["trainer.max_epochs=1", "trainer.max_steps=4"])
def test_a_run_does_not_become_shorter_than_it_is(train, run, typed):
    before = files(run)
    with pytest.raises(UserError, match=rf"{typed.replace('=', ' .')}. ends before .*/run, which"):
        train("elsewhere", f"resume={run}", typed, small=False)
    assert files(run) == before


def test_a_word_that_is_no_mode_and_no_run_is_answered_with_both(compose, run):
    with pytest.raises(UserError, match=r"never, auto, must or a run folder: .*atuo"):
        resuming.base_config(compose("resume=atuo", f"paths.output_dir={run}"), typed=["resume=atuo"], folder=run)


def test_never_refuses_a_folder_that_holds_a_run(train, run):
    with pytest.raises(UserError, match="resume=auto"):
        train(run, *COMMAND[:2])


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["optimizer.lr=0.5"], r"optimizer.lr was 0.001, is 0.5\. .*init_from"),
        (["optimizer.lr=0.5", "resume_changes=[optimizer]"], r"optimizer.lr was .*init_from"),
        (["model.width=32", "seed=3"], "model.width was 16, is 32; seed was 0, is 3"),
        (["trainer.max_epochs=9"], r"trainer.max_epochs was 2, is 9\. .*resume_changes=\[trainer.max_epochs\]"),
        (["~callbacks.early_stopping"], "callbacks.early_stopping.*resume_changes="),
        (["trainer.devices=2", "strategy=ddp", "resume_changes=[trainer]"], r"micro-batches of 64 .*128"),
        (["callbacks=none", "resume_changes=[callbacks]"], "callbacks has no checkpoint"),
    ],
)
def test_another_config_is_refused_with_the_difference(compose, run, typed, words):
    kill(run, step=4)
    composed = compose(*SMALL, *(() if "callbacks=none" in typed else COMMAND), "resume=auto", *typed)
    config = preflight(composed, run_dir=str(run))
    before = files(run)
    with pytest.raises(UserError, match=words):
        resuming.open(config, run)
    assert files(run) == before


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("optimizer=sgd", "optimizer=sgd cannot be joined"),
        ("hydra/launcher=basic", "cannot be joined"),
        ("~callbacks.throughput", "cannot be joined"),
        ("optimizer.lr=0.5", "init_from"),
    ],
)
def test_a_change_that_a_saved_run_cannot_take_is_refused(compose, run, typed, words):
    kill(run, step=4)

    def take():
        base, place = resuming.base_config(compose(f"resume={run}", typed), typed=[typed], folder=run)
        resuming.open(preflight(base, run_dir=str(place)), place)

    with pytest.raises(UserError, match=words):
        take()


def test_a_run_folder_that_was_moved_is_continued_where_it_is(compose, run):
    moved = run.rename(run.with_name("moved"))
    base, place = resuming.base_config(compose(f"resume={moved}"), typed=[f"resume={moved}"], folder=Path("new"))
    config = preflight(base, run_dir=str(place))
    assert (place, config["callbacks"]["checkpoint"]["folder"]) == (moved, str(moved))
    assert resuming.open(config, place).finished


def test_a_run_that_is_only_damaged_is_refused_and_not_begun_anew(compose, run):
    kill(run, step=4)
    for manifest in committed(run / "checkpoints"):
        manifest.path.write_bytes(b"")
    config = preflight(compose(*SMALL, *COMMAND), run_dir=str(run))
    with pytest.raises(UserError, match="damaged"):
        resuming.open(config, run)


def test_other_data_is_refused_unless_it_is_named(train, run):
    kill(run, step=4)
    env = json.loads((run / "env.json").read_text())
    env["data"]["content"] = "0123"
    (run / "env.json").write_text(json.dumps(env))
    with pytest.raises(UserError, match=r"content \(was 0123, is "):
        train(run, *COMMAND)
    assert train(run, *COMMAND, "resume_changes=[data]")


def test_the_wandb_run_keeps_its_id(compose, run):
    typed = (*COMMAND, "logger=wandb_offline", "resume_changes=[logger]")
    configs = [preflight(compose(*SMALL, *typed), run_dir=str(run)) for _ in range(2)]
    first, second = (config["logger"]["wandb"]["id"] for config in configs)
    assert first != second
    RunFolder(run).write_config(configs[0])
    assert resuming.open(configs[1], run).config["logger"]["wandb"]["id"] == first
