"""What the callbacks write and draw, on a network that takes milliseconds."""

import re

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from src.callbacks.checkpoint import Checkpoint
from src.callbacks.epoch_line import EpochLine
from src.callbacks.learning_rate import LearningRate
from src.callbacks.step_seed import StepSeed, step_seed
from src.callbacks.throughput import Throughput
from src.errors import Diverged, UserError
from src.run.checkpoint import load_verified
from src.run.manifest import committed, find_best
from tests.test_task_classifier import make_batch, make_task


def train(task, callbacks, *, batches=None, epochs=2, **settings):
    batches = batches or [make_batch(range(0, 8)), make_batch(range(8, 13))]
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "logger": False}
    quiet |= {"enable_checkpointing": False, "num_sanity_val_steps": 0}
    plugins = [callback.io for callback in callbacks if isinstance(callback, Checkpoint)]
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=callbacks, plugins=plugins, log_every_n_steps=1, **quiet, **settings
    )
    trainer.fit(task, DataLoader(batches, batch_size=None), DataLoader(batches, batch_size=None))
    return trainer


class Draws(lightning.Callback):
    """Remembers one random number per training batch."""

    def __init__(self):
        self.numbers = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.numbers.append(float(torch.rand(())))


def test_the_random_numbers_of_a_step_depend_on_seed_and_position_only():
    """A validation in between, or other draws before, change nothing."""
    first, second, third = Draws(), Draws(), Draws()
    train(make_task(), [StepSeed(seed=0), first])
    torch.rand(100)
    train(make_task(), [StepSeed(seed=0), second], val_check_interval=1)
    train(make_task(), [StepSeed(seed=1), third])
    assert first.numbers == second.numbers
    assert len(set(first.numbers + third.numbers)) == 8


def test_step_seeds_do_not_collide_between_neighbours():
    seeds = {step_seed(seed=s, epoch=e, batch=b) for s in range(3) for e in range(10) for b in range(100)}
    assert len(seeds) == 3000


def test_one_line_per_epoch_with_what_the_chapter_prints(capsys):
    trainer = train(make_task(), [EpochLine()])
    lines = capsys.readouterr().out.splitlines()
    pattern = r"epoch +(\d+)  train loss (\d\.\d{4})  val loss (\d\.\d{4})  accuracy (\d\.\d{4})  \d+\.\d s"
    found = [re.fullmatch(pattern, line) for line in lines]
    assert [match[1] for match in found] == ["1", "2"]
    values = trainer.callback_metrics
    assert found[1][2] == f"{values['train/loss']:.4f}"
    assert found[1][3] == f"{values['val/loss']:.4f}"
    assert found[1][4] == f"{values['val/acc']:.4f}"


def test_throughput_counts_reviews_and_real_tokens():
    batches = [make_batch(range(0, 8)), make_batch(range(8, 13))]
    values = train(make_task(), [Throughput()], batches=batches).callback_metrics
    reviews = sum(len(batch.labels) for batch in batches)
    tokens = sum(int(batch.lengths.sum()) for batch in batches)
    ratio = values["throughput/tokens_per_second"] / values["throughput/examples_per_second"]
    assert float(ratio) == pytest.approx(tokens / reviews)


def test_the_learning_rate_is_logged():
    assert float(train(make_task(), [LearningRate()]).callback_metrics["train/learning_rate"]) == pytest.approx(0.1)


def test_best_is_the_checkpoint_with_the_lowest_monitored_loss(tmp_path):
    class Losses(lightning.Callback):
        """Replaces val/loss by a script: better, best, worse."""

        script = iter([0.5, 0.3, 0.4])

        def on_validation_end(self, trainer, pl_module):
            trainer.callback_metrics["val/loss"].fill_(next(self.script))

    task = make_task()
    train(task, [Losses(), Checkpoint(folder=str(tmp_path), monitor="val/loss")], epochs=3)
    assert [(m.step, m.epoch) for m in committed(tmp_path / "checkpoints")] == [(4, 1), (6, 2)]
    best = find_best(tmp_path / "checkpoints")
    assert (best.step, best.score) == (4, pytest.approx(0.3))
    state = load_verified(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(torch.equal(state[name], value) for name, value in task.state_dict().items())


def test_a_run_that_ends_between_validations_still_leaves_its_last_weights(tmp_path):
    task = make_task()
    train(task, [Checkpoint(folder=str(tmp_path), monitor="val/loss")], max_steps=3, epochs=5)
    state = load_verified(tmp_path / "checkpoints" / "last.ckpt")
    assert state["global_step"] == 3
    assert all(torch.equal(state["state_dict"][name], value) for name, value in task.state_dict().items())


def test_a_monitored_nan_ends_the_run_and_is_never_the_best(tmp_path):
    class Nan(lightning.Callback):
        def on_validation_end(self, trainer, pl_module):
            trainer.callback_metrics["val/loss"].fill_(float("nan"))

    with pytest.raises(Diverged, match="val/loss is nan at step 2"):
        train(make_task(), [Nan(), Checkpoint(folder=str(tmp_path), monitor="val/loss")])
    assert find_best(tmp_path / "checkpoints") is None


def test_a_monitor_that_no_validation_measures_is_named_with_those_there_are(tmp_path):
    with pytest.raises(UserError, match=r"monitor \(val/lsos\) .*val/acc, .*val/loss"):
        train(make_task(), [Checkpoint(folder=str(tmp_path), monitor="val/lsos")])
