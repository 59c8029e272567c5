"""`branch_from`: a new run begins where another one stood. And resumes of runs that unfreeze, or are saved by time."""

import functools
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from src.callbacks import checkpoint as saving
from src.callbacks.branching import Branching
from src.errors import UserError
from src.launch import resuming
from src.launch.branching import branch_config
from src.launch.preflight import preflight
from src.model.transformer_classifier import TransformerClassifier
from src.run.checkpoint import load_verified
from src.run.index import read_config
from src.run.manifest import committed
from src.run.origin import Origin, read_origin
from src.schedule.constant import constant
from src.schedule.plateau import plateau
from src.schedule.warmup import per_step
from src.schedule.warmup_cosine import multiplier
from src.task.classifier import Classifier
from tests import test_callbacks_continuation as pieces
from tests.conftest import SMALL
from tests.same_run import metrics, predictions, timeless, unequal
from tests.test_launch_resuming import COMMAND, files, kill, result, run, train, trained  # noqa: F401 - fixtures
from tests.test_task_classifier import make_batch

START = {"branch_from", "branch_from_step", "branch_from_sha256"}


def branch(train, origin, folder, *typed):  # noqa: F811
    assert train(folder, f"branch_from={origin}", *typed, small=False)
    return folder


def newest(folder):
    return load_verified(folder / "checkpoints" / "last.ckpt")


def test_with_nothing_changed_it_ends_as_the_run_it_branched_off(train, trained, tmp_path):  # noqa: F811
    """To the bit: weights, moments, schedule, metrics.csv, result. The other folder is not touched."""
    step = 4  # inside the first of two epochs of 5
    before = {path: (data, path.stat().st_mtime_ns) for path, data in files(trained).items()}
    folder = branch(train, f"{trained}@{step}", tmp_path / "branch")
    assert {path: (data, path.stat().st_mtime_ns) for path, data in files(trained).items()} == before
    found = result(folder)
    assert {name: found[name] for name in START} == {
        "branch_from": trained.name,
        "branch_from_step": step,
        "branch_from_sha256": next(m.identity for m in committed(trained / "checkpoints") if m.step == step),
    }
    assert {name: value for name, value in found.items() if name not in START} == result(trained)
    for read in (newest, metrics, predictions):
        assert unequal(timeless(read(folder)), timeless(read(trained))) == []
    assert len((folder / "test_ledger.jsonl").read_text().splitlines()) == 1


CHANGES = ("optimizer.lr=0.0005", "schedule=constant", "trainer.max_epochs=3", "model.dropout=0.1")


def test_a_changed_branch_that_is_killed_goes_on_and_needs_its_origin_no_longer(train, run, tmp_path):  # noqa: F811
    folder = branch(train, f"{run}@4", tmp_path / "branch", *CHANGES)
    config, saved = read_config(folder), read_config(run)
    assert (config["optimizer"]["lr"], config["model"]["dropout"], config["trainer"]["max_epochs"]) == (5e-4, 0.1, 3)
    assert (config["branch_from"], config["data"]) == (f"{run}@4", saved["data"])
    assert config["callbacks"]["checkpoint"]["folder"] == str(folder)
    origin, ended = read_origin(folder), result(folder)
    assert {"optimizer.lr", "schedule._target_", "trainer.max_epochs", "model.dropout"} <= set(origin["changes"])
    assert (origin["branch_from"], origin["step"]) == (str(run), 4)
    assert load_verified(folder / "checkpoints" / "last.ckpt")["optimizer_states"][0]["param_groups"][0]["lr"] == 5e-4

    kill(folder, step=8)
    assert branch(train, f"{run}@4", folder, *CHANGES, "resume=auto")
    assert result(folder) == ended
    kill(folder, step=4)  # before the first checkpoint of its own
    run.rename(run.with_name("elsewhere"))
    assert train("unused", f"resume={folder}", small=False)
    assert result(folder) == ended


REFUSED = [
    (["model.width=32"], r"another network: embedding.weight is \[\d+, 16\] there and \[\d+, 32\] here.*init_from"),
    (["data.batch_size=32"], r"data.batch_size was 64, is 32|micro-batches of 64"),
    (["data.max_length=50"], "data.max_length was 200, is 50.*init_from"),
    (["seed=3"], "seed was 0, is 3"),
    (["optimizer=sgd"], "optimizer=sgd cannot be joined"),
    (["task.decay=all"], "task.decay was matrices, is all"),
    (["init_from=anything"], "init_from .* begins with weights alone"),
    (["resume=anything"], "resume .* goes on in that run's folder"),
    (["callbacks=none"], "needs callbacks.checkpoint"),
    (["trainer.max_epochs=1"], r"trainer.max_epochs \(1\) ends before .*@8, which is in epoch 2"),
    (["trainer.max_steps=7"], r"trainer.max_steps \(7\) ends before .*8 steps"),
]


@pytest.mark.parametrize(("typed", "words"), REFUSED, ids=[" ".join(typed) for typed, _ in REFUSED])
def test_what_a_branch_cannot_be_is_refused_before_there_is_a_folder(train, trained, tmp_path, typed, words):  # noqa: F811
    with pytest.raises(UserError, match=words):
        branch(train, f"{trained}@8", tmp_path / "branch", *typed)
    assert not (tmp_path / "branch").exists()


def test_a_place_that_is_not_there_is_refused_with_those_that_are(train, run, tmp_path):  # noqa: F811
    kill(run, step=8)
    for name, words in (
        (f"{run}@3", "no checkpoint of that step; it has .*4, 5, 6, 8"),
        (f"{run}x", r"must be a run, or as in <run>@best and <run>@<step>"),
        (f"{run}@worst", "must be a run"),
    ):
        with pytest.raises(UserError, match=words):
            branch(train, name, tmp_path / "branch")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match="no checkpoint to begin with"):
        branch(train, run, tmp_path / "branch")
    assert not (tmp_path / "branch").exists()


def test_a_damaged_checkpoint_sends_it_to_the_one_before_and_says_so(compose, run, tmp_path, capsys):  # noqa: F811
    path = committed(run / "checkpoints")[-1].path
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    last, before = (manifest.step for manifest in committed(run / "checkpoints")[:-3:-1])

    def begin(name):
        typed = [f"branch_from={name}", "trainer.max_epochs=3"]
        base, place = resuming.base_config(compose(*typed), typed=typed, folder=tmp_path / "branch")
        return resuming.open(preflight(base, run_dir=str(place)), place).run

    with pytest.raises(UserError, match="is damaged"):
        begin(f"{run}@{last}")
    assert not (tmp_path / "branch").exists()
    folder = begin(run)
    assert f"using the checkpoint of step {before}" in capsys.readouterr().err
    assert [manifest.step for manifest in committed(folder.checkpoints)] == [before]
    folder.release()


def test_other_data_is_refused_unless_it_is_named(train, run, tmp_path):  # noqa: F811
    env = json.loads((run / "env.json").read_text())
    env["data"]["content"] = "0123"
    (run / "env.json").write_text(json.dumps(env))
    with pytest.raises(UserError, match=r"content \(was 0123, is "):
        branch(train, f"{run}@8", tmp_path / "branch")
    assert branch(train, f"{run}@8", tmp_path / "named", "resume_changes=[data]")


def test_the_folder_is_named_after_the_model_of_the_origin(compose, tmp_path):
    origin = tmp_path / "2026-01-02_03-04-05_transformer_tiny_0123abcd"
    origin.mkdir()
    config = preflight(compose(*SMALL, "logger=wandb_offline"), run_dir=str(origin))
    for name, value in (("config.yaml", config), ("status.json", {})):
        (origin / name).write_text(json.dumps(value))  # JSON is YAML
    hydras = tmp_path / "2026-02-03_04-05-06_bilstm_4567cdef"
    base, place = branch_config(compose(f"branch_from={origin}@best"), typed=[], folder=hydras)
    assert place.name == "2026-02-03_04-05-06_transformer_tiny_4567cdef"
    assert base.logger.wandb.id != config["logger"]["wandb"]["id"]
    assert Origin.parse(base.branch_from) == (str(origin), "best")
    assert branch_config(compose(f"branch_from={origin}"), typed=[], folder=tmp_path / "mine")[1].name == "mine"


def half_rate(schedule, **settings):
    """As pieces.classifier, at half its learning rate."""
    task = pieces.classifier(schedule, **settings)
    task.make_optimizer = functools.partial(torch.optim.Adam, lr=0.015)
    return task


def half_from_four_on(optimizer, *, total_steps, new):
    """What the two schedules of a branch at step 4 make together; halves are exact."""
    old = functools.partial(multiplier, warmup_steps=3, total_steps=total_steps, floor=0.0)
    return per_step(optimizer, lambda step: old(step) if step < 4 else 0.5 * new(step))


@pytest.mark.parametrize(
    ("schedule", "changes", "new"),
    [
        ("warmup", ["optimizer.lr"], functools.partial(multiplier, warmup_steps=3, total_steps=12, floor=0.0)),
        ("constant", ["optimizer.lr", "schedule._target_"], lambda step: 1.0),
    ],
)
def test_a_new_rate_counts_from_the_first_step_of_the_branch_on(tmp_path, monkeypatch, schedule, changes, new):
    """To the bit as one run whose schedule changes at that step: moments and the place on the curve are kept."""
    monkeypatch.setitem(pieces.MODELS, "half", (half_rate, make_batch))
    monkeypatch.setitem(pieces.SCHEDULES, "both", functools.partial(half_from_four_on, new=new))
    monkeypatch.setitem(pieces.SCHEDULES, "constant", constant)
    whole = pieces.run(tmp_path / "whole", schedule="both")
    pieces.run(tmp_path / "origin")
    folder = pieces.killed_after(tmp_path / "origin", 4, tmp_path / "branch")
    callbacks = [Branching(step=4, changes=changes)]
    found = pieces.run(folder, model="half", schedule=schedule, extra=callbacks, stop=3)
    found = pieces.run(folder, model="half", schedule=schedule, extra=callbacks, seen=found.seen)  # a resume of its own
    assert found.seen == {place: whole.seen[place] for place in list(whole.seen)[4:]}
    pieces.same(dict(found.task.named_parameters()), dict(whole.task.named_parameters()))


def hard_to_please(optimizer, *, total_steps):
    """Only a loss of 0 is better than the first one."""
    entry = plateau(optimizer, total_steps=total_steps, patience=0)
    entry["scheduler"].threshold = 1.0
    return entry


def test_a_plateau_goes_on_unless_its_rate_is_another(tmp_path, monkeypatch):
    """It has lowered the rate by then; a new weight decay is no reason to forget that."""

    def decayed(schedule, **settings):
        task = half_rate(schedule, **settings)
        task.make_optimizer = functools.partial(torch.optim.Adam, lr=0.015, weight_decay=0.25)
        return task

    monkeypatch.setitem(pieces.MODELS, "decayed", (decayed, make_batch))
    monkeypatch.setitem(pieces.SCHEDULES, "plateau", hard_to_please)
    pieces.run(tmp_path / "origin", schedule="plateau", max_epochs=3)
    saved = pieces.states(tmp_path / "origin")[12]["optimizer_states"][0]["param_groups"][0]["lr"]
    assert saved < 0.03
    for changes, rate in ((["optimizer.weight_decay"], saved), (["optimizer.lr"], 0.015)):
        folder = pieces.killed_after(tmp_path / "origin", 12, tmp_path / str(rate))
        own = [Branching(step=12, changes=changes)]
        found = pieces.run(folder, model="decayed", schedule="plateau", extra=own, stop=1, max_epochs=3)
        group = found.trainer.optimizers[0].param_groups[0]
        assert (group["lr"], group["weight_decay"]) == (rate, 0.25)


def unfrozen(schedule, **settings):
    """A classifier whose depths open one after the other, the last inside the second epoch."""
    sizes = {"width": 8, "num_layers": 2, "num_heads": 2, "feed_forward_width": 8}
    network = TransformerClassifier(vocab_size=50, num_classes=2, dropout=0.2, max_length=16, **sizes)
    optimizer = functools.partial(torch.optim.Adam, lr=0.03)
    return Classifier(network=network, optimizer=optimizer, schedule=schedule, unfreeze_every=0.5, **settings)


def test_a_run_that_unfreezes_goes_on_with_the_depths_that_were_open(tmp_path, monkeypatch):
    monkeypatch.setitem(pieces.MODELS, "unfrozen", (unfrozen, make_batch))
    whole = tmp_path / "whole"
    record = pieces.run(whole, model="unfrozen", accumulate_grad_batches=2)
    moved = [set(state["optimizer_states"][0]["state"]) for state in pieces.states(whole).values()]
    assert len(moved[0]) < len(moved[2]) < len(moved[-1])  # what has moments has learned
    for step in (1, 4):
        folder = pieces.killed_after(whole, step, tmp_path / str(step))
        again = pieces.run(folder, model="unfrozen", accumulate_grad_batches=2)
        assert again.seen == {place: record.seen[place] for place in again.seen}
        assert again.seen
        pieces.assert_same(folder, whole)


def test_a_run_saved_by_the_clock_goes_on_to_the_bit(tmp_path, monkeypatch):
    """Every second of a minute that ticks once a look: other places than those of validations."""
    ticks = SimpleNamespace(now=0.0)

    def monotonic():
        ticks.now += 25.0
        return ticks.now

    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=monotonic))
    made = functools.partial(saving.Checkpoint, every_minutes=1.0)
    monkeypatch.setattr(pieces, "Checkpoint", lambda **settings: made(**{**settings, "every_steps": None}))
    whole = tmp_path / "whole"
    record = pieces.run(whole)
    steps = [manifest.step for manifest in committed(whole / "checkpoints")]
    assert set(steps) > {6, 12}
    for step in steps[:-1]:
        folder = pieces.killed_after(whole, step, tmp_path / str(step))
        again = pieces.run(folder)
        assert again.seen == {place: seen for place, seen in record.seen.items() if seen[2] > step}
        final = [pieces.states(place)[12] for place in (folder, whole)]
        pieces.same(*final)
        assert (folder / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
        assert np.isfinite(list(pieces.vars_of(again)["metrics"].values())).all()
