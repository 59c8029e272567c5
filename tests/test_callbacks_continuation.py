"""A run that is stopped and resumed, twice, ends as one that was never stopped: to the bit, from any two places."""

import contextlib
import functools
import shutil

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging

from src.callbacks.checkpoint import Checkpoint
from src.callbacks.continuation import KEY, Continuation
from src.callbacks.epoch_line import EpochLine
from src.callbacks.learning_rate import LearningRate
from src.callbacks.step_seed import StepSeed
from src.callbacks.throughput import Throughput
from src.data.loading import follow, make_loader
from src.data.sampler import BatchOrder, SortedOrder
from src.errors import UserError
from src.logger.csv import MetricsFile
from src.model.bilstm import BiLSTM
from src.model.transformer import Transformer
from src.run.checkpoint import VerifiedCheckpointIO, load_verified
from src.run.manifest import committed, step_folder
from src.run.retention import point_names
from src.schedule.plateau import plateau
from src.schedule.warmup_cosine import warmup_cosine
from src.task.classifier import Classifier
from src.task.language_model import LanguageModel
from tests.test_task_classifier import make_batch
from tests.test_task_language_model import VOCABULARY, make_block

BATCHES, EPOCHS = 6, 2


class Stopped(Exception):
    pass


class View(torch.utils.data.Dataset):
    def __init__(self, make):
        self.make = make

    def __getitem__(self, draw):
        return self.make(draw.indices.tolist(), share=draw.share)


class Data(lightning.LightningDataModule):
    """`BATCHES` batches of which the last is short."""

    def __init__(self, make, *, workers=0):
        super().__init__()
        self.make, self.workers = make, workers

    def train_dataloader(self):
        order = BatchOrder(np.arange(4 * BATCHES - 1), batch_size=4, bucket_batches=0, seed=0)
        return make_loader(View(self.make), follow(order, self.trainer), num_workers=self.workers, seed=0)

    def val_dataloader(self):
        order = SortedOrder(np.arange(8), batch_size=4)
        return make_loader(View(functools.partial(make_rows, self.make)), order, num_workers=0, seed=0)


def make_rows(make, rows, share):
    return make([100 + row for row in rows], share=share)


def classifier(schedule, **settings):
    network = BiLSTM(vocab_size=50, width=4, hidden=4, dropout=0.4)
    optimizer = functools.partial(torch.optim.Adam, lr=0.03)
    return Classifier(network=network, optimizer=optimizer, schedule=schedule, **settings)


def language_model(schedule, **settings):
    sizes = {"width": 8, "num_layers": 1, "num_heads": 2, "feed_forward_width": 8}
    network = Transformer(vocab_size=VOCABULARY, dropout=0.2, **sizes)
    optimizer = functools.partial(torch.optim.SGD, lr=0.5, momentum=0.9)
    return LanguageModel(network=network, optimizer=optimizer, schedule=schedule, **settings)


MODELS = {"bilstm": (classifier, make_batch), "language_model": (language_model, make_block)}
SCHEDULES = {
    "warmup": functools.partial(warmup_cosine, warmup=3),
    "plateau": functools.partial(plateau, factor=0.5, patience=0),
}


class Record(lightning.Callback):
    """Notes every batch with its loss, and stops after `stop` batches of this process."""

    def __init__(self, *, stop=None, seen=None):
        self.stop, self.seen, self.count = stop, {} if seen is None else seen, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        place = (trainer.current_epoch, batch_idx)
        self.seen[place] = (outputs["loss"].item(), tuple(batch[0].flatten().tolist()), trainer.global_step)
        self.count += 1
        if self.count == self.stop:
            raise Stopped


def run(
    folder,
    *,
    model="bilstm",
    schedule="warmup",
    stop=None,
    seen=None,
    average=False,
    patience=9,
    workers=0,
    ends="",
    task=None,
    extra=(),
    every=1,
    **trainer,
):
    """One process of the run in `folder`: goes on from what is there; returns its record."""
    build, make = MODELS[model]
    torch.manual_seed(0)
    task = build(SCHEDULES[schedule], **(task or {}))
    torch.manual_seed(np.random.SeedSequence().entropy % 2**63)  # whatever a resumed process finds
    record = Record(stop=stop, seen=seen)
    checkpoint = Checkpoint(folder=str(folder), monitor="val/loss", every_steps=every, keep=1000)
    early = EarlyStopping(monitor="val/loss", patience=patience, check_on_train_epoch_end=False)
    callbacks = [StepSeed(seed=0), Continuation(ends=ends), checkpoint, early, LearningRate(), record]
    callbacks += extra
    callbacks += [EMAWeightAveraging(decay=0.9)] if average else []
    settings = {
        "max_epochs": EPOCHS,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 2,
        "accelerator": "cpu",
        **trainer,
    }
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = lightning.Trainer(
        callbacks=callbacks, plugins=[checkpoint.io], logger=MetricsFile(folder=str(folder)), **quiet, **settings
    )
    saved = folder / "checkpoints"
    last = saved / "last.ckpt" if saved.exists() and committed(saved) else None
    with contextlib.suppress(Stopped):
        trainer.fit(task, datamodule=Data(make, workers=workers), ckpt_path=last)
    record.trainer, record.task = trainer, task
    return record


def same(one, other, path=""):
    """Raises unless two states are equal to the bit."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            same(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            same(left, right, f"{path}[{number}]")
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True, msg=f"{path}: {one} {other}")
    else:
        assert one == other, f"{path}: {one} {other}"


def states(folder):
    """Step to state of every checkpoint, without Lightning's loop counters, which nothing reads."""
    found = {manifest.step: load_verified(manifest.path) for manifest in committed(folder / "checkpoints")}
    for state in found.values():
        state.pop("loops")
        state[KEY].pop("seconds")
    return found


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory):
    """`whole_runs(**settings)` -> folder and record of an uninterrupted run, made once."""
    made = {}

    def whole(**settings):
        key = repr(settings)
        if key not in made:
            folder = tmp_path_factory.mktemp("whole")
            made[key] = folder, run(folder, **settings)
        return made[key]

    return whole


def killed_after(whole, step, folder):
    """The folder as a kill left it, at any time between the checkpoint of `step` and the next."""
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    saved = folder / "checkpoints"
    for manifest in committed(saved):
        if manifest.step > step:
            shutil.rmtree(manifest.path.parent)
    for name in ("last.ckpt", "best.ckpt"):
        (saved / name).unlink(missing_ok=True)
    point_names(saved)
    return folder


def assert_resumes(whole_runs, tmp_path, *, stride=None, **settings):
    """From every `stride`-th checkpoint of a run and the last, the same run: losses, later checkpoints, metrics.csv.

    stride: None for the one in the middle and the last.
    """
    whole, record = whole_runs(**settings)
    steps = [manifest.step for manifest in committed(whole / "checkpoints")]
    some = steps[::stride] if stride else steps[len(steps) // 2 :][:1]
    for step in dict.fromkeys([*some, steps[-1]]):
        folder = killed_after(whole, step, tmp_path / str(step))
        again = run(folder, **settings)
        assert step != steps[-1] or not again.seen, "an ended run went on"
        first = next(iter(again.seen), None)
        expected = list(record.seen)[list(record.seen).index(first) :] if first else []
        assert again.seen == {place: record.seen[place] for place in expected}
        behind = [place for place in record.seen if place not in again.seen]
        assert all(record.seen[place][2] <= step for place in behind), "a batch was left out"
        assert_same(folder, whole)
        same(vars_of(again), vars_of(record))
    return steps


def vars_of(record):
    metrics = {name: float(value) for name, value in record.trainer.callback_metrics.items()}
    return {"metrics": metrics, "steps": record.trainer.global_step, "epochs": record.trainer.current_epoch}


def assert_same(folder, whole):
    same(states(folder), states(whole))
    assert (folder / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    scores = [[(m.step, m.epoch, m.scores) for m in committed(place / "checkpoints")] for place in (folder, whole)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize(("model", "schedule"), [("bilstm", "warmup"), ("language_model", "plateau")])
def test_a_run_killed_after_any_step_goes_on_to_the_bit(whole_runs, tmp_path, model, schedule, accumulate):
    """All checkpoints that the resumed run makes are those of the whole one, so it may be killed again at any."""
    settings = {"model": model, "schedule": schedule, "accumulate_grad_batches": accumulate}
    stride = 1 if model == "bilstm" else 3
    steps = assert_resumes(whole_runs, tmp_path, stride=stride, **settings)
    assert steps == list(range(1, EPOCHS * -(-BATCHES // accumulate) + 1))


@pytest.mark.parametrize("stops", [(1, 1), (2, 3), (4, 7), (5, 1), (7, 2)])
def test_a_run_stopped_twice_ends_as_if_it_had_not_been(whole_runs, tmp_path, stops):
    """The case that Lightning's own restart loses: the second stop in the epoch that was resumed."""
    settings = {"accumulate_grad_batches": 2}
    whole, record = whole_runs(model="bilstm", schedule="warmup", **settings)
    folder, seen = tmp_path / "run", {}
    for stop in (*stops, None):
        run(folder, stop=stop, seen=seen, **settings)
    assert seen == record.seen
    assert_same(folder, whole)


SETTINGS = {
    "val_twice_an_epoch": {"val_check_interval": 3},
    "val_in_the_middle_of_a_window": {"val_check_interval": 2, "accumulate_grad_batches": 3, "every": 1},
    "val_by_share": {"val_check_interval": 0.5, "accumulate_grad_batches": 2},
    "val_over_epochs": {
        "val_check_interval": 4,
        "check_val_every_n_epoch": None,
        "accumulate_grad_batches": 3,
        "every": 1,
    },
    "val_every_second_epoch": {"check_val_every_n_epoch": 2, "max_epochs": 4, "patience": 1},
    "limited": {"limit_train_batches": 0.7, "limit_val_batches": 1},
    "overfit": {"overfit_batches": 3, "max_epochs": 3},
    "max_steps": {"max_steps": 8, "max_epochs": -1},
    "max_steps_inside_a_window_of_the_epoch": {"max_steps": 5, "max_epochs": 9, "accumulate_grad_batches": 2},
    "early_stopping": {"patience": 0, "max_epochs": 6, "model": "language_model"},
    "early_stopping_waits_for_min_epochs": {"patience": 0, "max_epochs": 5, "min_epochs": 3},
    "early_stopping_in_a_window": {"patience": 1, "val_check_interval": 1, "accumulate_grad_batches": 2},
    "workers": {"workers": 1, "max_epochs": 1},
    "averaged_weights": {"average": True},
    "sanity_check": {"num_sanity_val_steps": 2, "max_epochs": 1},
    "no_validation": {"limit_val_batches": 0},
}


@pytest.mark.filterwarnings("ignore:.*WeightAveraging callback with a model that overrides.*")
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_trainer_mean_the_same_after_a_resume(whole_runs, tmp_path, name):
    assert assert_resumes(whole_runs, tmp_path, **{"every": 3, **SETTINGS[name]})


def test_a_run_that_ended_goes_on_when_it_may_be_longer(tmp_path):
    """With a schedule that does not depend on the length, as if it had been allowed to from the start."""
    longer = {"schedule": "plateau", "accumulate_grad_batches": 2}
    record = run(tmp_path / "whole", max_epochs=4, **longer)
    for limits in ({"max_steps": 2}, {"max_steps": 5}, {"max_epochs": 2}, {"max_epochs": 3, "max_steps": 7}):
        folder, seen = tmp_path / str(limits), {}
        run(folder, seen=seen, **limits, **longer)
        assert len(seen) < len(record.seen)
        again = run(folder, seen=seen, max_epochs=4, **longer)
        assert seen == record.seen
        assert vars_of(again) == vars_of(record)
        same(states(folder)[12], states(tmp_path / "whole")[12])


def test_a_run_that_stopped_early_goes_on_only_when_what_stopped_it_has_changed(tmp_path):
    settings = {"max_epochs": 6, "model": "language_model"}
    record = run(tmp_path / "whole", patience=9, **settings)
    folder, seen = tmp_path / "run", {}
    run(folder, seen=seen, patience=0, ends="patience 0", **settings)
    stopped = len(seen)
    assert stopped < len(record.seen)
    run(folder, seen=seen, patience=0, ends="patience 0", **{**settings, "max_epochs": 7})
    assert len(seen) == stopped
    run(folder, seen=seen, patience=9, ends="patience 9", **settings)
    assert seen == record.seen


class Poison(lightning.Callback):
    """Makes a gradient of some steps NaN."""

    steps = (2, 3, 7)

    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step in self.steps:
            next(pl_module.parameters()).grad.fill_(float("nan"))


def test_steps_left_out_are_counted_through_a_resume(tmp_path):
    settings = {"task": {"non_finite": "skip"}, "extra": [Poison()]}
    record = run(tmp_path / "whole", **settings)
    assert record.task.guard.skipped == len(Poison.steps)
    for stop in (3, 8):
        folder, seen = tmp_path / str(stop), {}
        run(folder, stop=stop, seen=seen, **settings)
        again = run(folder, seen=seen, **settings)
        assert again.task.guard.skipped == record.task.guard.skipped
        assert_same(folder, tmp_path / "whole")


def test_a_damaged_checkpoint_sends_the_run_to_the_one_before(tmp_path, capsys):
    record = run(tmp_path / "whole")
    folder = killed_after(tmp_path / "whole", 7, tmp_path / "run")
    path = folder / "checkpoints" / "step-00000007" / "state.ckpt"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    again = run(folder)
    assert next(iter(again.seen)) == (1, 0)
    assert "step 6" in capsys.readouterr().err
    assert again.seen == {place: record.seen[place] for place in again.seen}
    assert_same(folder, tmp_path / "whole")


def test_a_checkpoint_that_does_not_say_where_it_stood_is_refused(tmp_path):
    run(tmp_path, stop=2)
    state = load_verified(tmp_path / "checkpoints" / "last.ckpt")
    del state[KEY]
    VerifiedCheckpointIO().save_checkpoint(state, step_folder(tmp_path / "checkpoints", 5) / "state.ckpt")
    with pytest.raises(UserError, match=r"older version.*init_from"):
        run(tmp_path)


def test_what_is_counted_of_an_epoch_goes_on(tmp_path):
    """The speed leaves out the first batch of each process."""
    run(tmp_path, stop=4, extra=[Throughput()], max_epochs=1)
    before = load_verified(tmp_path / "checkpoints" / "last.ckpt")["callbacks"]["Throughput"]
    assert (before["batches"], before["examples"]) == (2, 8)  # of the three that were saved
    speed = Throughput()
    run(tmp_path, extra=[speed], max_epochs=1)
    assert (speed.batches, speed.examples) == (4, 15)
    assert speed.clock.seconds > before["seconds"]


def test_the_line_of_an_epoch_counts_the_seconds_before_an_interruption():
    line = EpochLine()
    line.load_state_dict({"seconds": 1e6})
    line.on_train_epoch_start(None, None)
    assert line.state_dict()["seconds"] >= 1e6
