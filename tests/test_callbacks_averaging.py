"""Averages of the weights: against a loop in NumPy over the weights of each step, and what becomes of them."""

import signal

import lightning
import numpy as np
import pytest
import torch

from src.callbacks.averaging import KEY, TRAINED
from src.callbacks.ema import ExponentialMovingAverage
from src.callbacks.swa import StochasticWeightAverage
from src.launch.finished import load_network, load_task, open_run
from src.run.checkpoint import load_verified
from src.run.files import read_json
from src.run.manifest import committed, find_best
from tests.kill import Tally, check, left_alone
from tests.legs import new_run
from tests.test_callbacks_continuation import (
    BATCHES,
    EPOCHS,
    MODELS,
    SCHEDULES,
    Data,
    assert_resumes,
    run,
    same,
    states,
    whole_runs,  # noqa: F401 - a fixture
)


class Weights(lightning.Callback):
    """The weights that train after each optimizer step, in float64, the first ones before them."""

    def __init__(self):
        self.of_step = {}

    def take(self, trainer, module):
        values = {name: value.detach().double().numpy().copy() for name, value in module.named_parameters()}
        self.of_step.setdefault(trainer.global_step, values)

    def on_train_start(self, trainer, pl_module):
        self.take(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.take(trainer, pl_module)


def moving_averages(of_step, *, decay, warmup):
    """Step to average, from the definition."""
    average = {0: of_step[0]}
    for step in range(1, len(of_step)):
        d = min(decay, (1 + step) / (10 + step)) if warmup else decay
        average[step] = {name: d * average[step - 1][name] + (1 - d) * of_step[step][name] for name in of_step[0]}
    return average


def means(of_step, *, first, every):
    """Step to mean of the weights of every `every`-th step behind the first ones; nothing before there is one."""
    found, taken = {}, []
    for step in range(1, len(of_step)):
        if step > first and step % every == 0:
            taken.append(of_step[step])
        if taken:
            found[step] = {name: np.mean([weights[name] for weights in taken], axis=0) for name in of_step[0]}
    return found


def close(state, expected, tolerance=1e-6):
    for name, value in expected.items():
        np.testing.assert_allclose(state[name].detach().double().numpy(), value, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("settings", "accumulate"), [({"decay": 0.9, "warmup": False}, 1), ({"decay": 0.3}, 3)])
def test_the_moving_average_is_that_of_the_definition(tmp_path, settings, accumulate):
    """One update per optimizer step, however many batches make it; also with a matrix that two layers share."""
    weights = Weights()
    callbacks = [weights, ExponentialMovingAverage(**settings)]
    record = run(tmp_path, model="language_model", extra=callbacks, accumulate_grad_batches=accumulate)
    expected = moving_averages(weights.of_step, **{"decay": 0.998, "warmup": True, **settings})
    assert max(expected) == EPOCHS * BATCHES // accumulate
    for step, state in states(tmp_path).items():
        close(state["state_dict"], expected[step])
        close(state[KEY][TRAINED], weights.of_step[step], tolerance=0)
        assert state[KEY]["updates"] == step
    close(dict(record.task.named_parameters()), expected[max(expected)])


@pytest.mark.parametrize(
    ("settings", "first", "every"),
    [
        ({"start": 1}, BATCHES, BATCHES),
        ({"start": 0.3, "every": "step"}, 4, 1),
    ],
)
def test_the_late_average_is_the_mean_of_the_weights_behind_its_start(tmp_path, settings, first, every):
    weights = Weights()
    run(tmp_path, extra=[weights, StochasticWeightAverage(**settings)])
    expected = means(weights.of_step, first=first, every=every)
    for step, state in states(tmp_path).items():
        close(state["state_dict"], expected.get(step, weights.of_step[step]))
        assert (state[KEY]["updates"] > 0) == (step in expected)


class Look(lightning.Callback):
    """The first matrix, whenever a validation has ended."""

    def __init__(self):
        self.seen = {}

    def on_validation_end(self, trainer, pl_module):
        self.seen[trainer.global_step] = next(pl_module.parameters()).detach().clone()


def test_what_is_measured_is_the_average_and_training_goes_on_from_the_weights(tmp_path):
    """Whatever stands before or behind the callback; and the weights that train are those of a run without it."""
    looks = [Look(), Look()]
    average = [looks[0], ExponentialMovingAverage(decay=0.8, warmup=False), looks[1]]
    run(tmp_path / "averaged", extra=average, val_check_interval=3, accumulate_grad_batches=2)
    run(tmp_path / "plain", val_check_interval=3, accumulate_grad_batches=2)
    averaged, plain = states(tmp_path / "averaged"), states(tmp_path / "plain")
    assert averaged.keys() == plain.keys()
    for step, state in plain.items():
        assert KEY not in state
        same(averaged[step][KEY][TRAINED], {**state["state_dict"]})
        same(averaged[step]["optimizer_states"], state["optimizer_states"])
    build, make = MODELS["bilstm"]
    for manifest in committed(tmp_path / "averaged" / "checkpoints"):
        task = build(SCHEDULES["warmup"])
        task.load_state_dict(averaged[manifest.step]["state_dict"])
        first = next(task.parameters()).detach()
        assert all(torch.equal(look.seen[manifest.step], first) for look in looks if manifest.step in look.seen)
        if manifest.scores:
            quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
            trainer = lightning.Trainer(accelerator="cpu", logger=False, **quiet)
            found = trainer.validate(task, datamodule=Data(make), verbose=False)[0]
            assert found["val/loss"] == manifest.scores["val/loss"]


def test_an_average_in_float32_of_weights_in_bfloat16(tmp_path):
    """What is measured is rounded as weights are; what is kept is not."""
    weights = Weights()
    run(tmp_path, model="language_model", extra=[weights, ExponentialMovingAverage()], precision="bf16-true")
    expected = moving_averages(weights.of_step, decay=0.998, warmup=True)
    for step, state in states(tmp_path).items():
        close(state[KEY]["average"], expected[step])
        for name, average in state[KEY]["average"].items():
            assert (average.dtype, state["state_dict"][name].dtype) == (torch.float32, torch.bfloat16)
            assert torch.equal(state["state_dict"][name], average.bfloat16())


AVERAGES = {
    "ema_in_bfloat16": {"extra": [ExponentialMovingAverage(decay=0.9)], "precision": "bf16-true", "every": 3},
    "ema_with_a_validation_in_a_window": {
        "extra": [ExponentialMovingAverage(decay=0.9)],
        "val_check_interval": 2,
        "accumulate_grad_batches": 3,
    },
    "swa_with_a_rate": {"extra": [StochasticWeightAverage(start=1, lr=0.01)], "max_epochs": 3, "every": 4},
}


@pytest.mark.parametrize("name", AVERAGES)
def test_a_resumed_run_goes_on_with_its_average_to_the_bit(whole_runs, tmp_path, name):  # noqa: F811
    assert_resumes(whole_runs, tmp_path, **AVERAGES[name])


def test_a_constant_rate_behind_the_start(tmp_path):
    class Rates(lightning.Callback):
        def __init__(self):
            self.of_step = {}

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            self.of_step[trainer.global_step] = optimizer.param_groups[0]["lr"]

    plain, held = Rates(), Rates()
    run(tmp_path / "plain", extra=[plain])
    run(tmp_path / "held", extra=[held, StochasticWeightAverage(start=1, lr=0.007)])
    assert held.of_step == {step: rate if step < BATCHES else 0.007 for step, rate in plain.of_step.items()}


def test_a_run_that_ends_before_the_start_says_so_and_keeps_its_weights(tmp_path, capsys):
    record = run(tmp_path, extra=[StochasticWeightAverage(start=EPOCHS)])
    assert "StochasticWeightAverage: training ended before" in capsys.readouterr().out
    same({**record.task.state_dict()}, {**states(tmp_path)[EPOCHS * BATCHES]["state_dict"]})


def test_an_average_can_be_left_out_or_begun_on_a_resume(tmp_path):
    """Without it, training goes on from the weights and not from their average; with it, from here on."""
    plain = run(tmp_path / "plain")
    run(tmp_path / "run", stop=5, extra=[ExponentialMovingAverage(decay=0.9)])
    middle = run(tmp_path / "run", stop=3)
    assert middle.seen == {place: plain.seen[place] for place in middle.seen}
    weights = Weights()
    again = run(tmp_path / "run", extra=[weights, ExponentialMovingAverage(decay=0.5, warmup=False)])
    assert again.seen == {place: plain.seen[place] for place in again.seen}
    first, *later = (weights.of_step[step] for step in sorted(weights.of_step))
    expected = moving_averages({step: each for step, each in enumerate([first, *later])}, decay=0.5, warmup=False)
    close(states(tmp_path / "run")[EPOCHS * BATCHES]["state_dict"], expected[len(later)])


def test_a_run_killed_in_a_save_ends_as_one_left_alone_and_its_average_is_what_all_doors_read(tmp_path):
    """SIGKILL to a real process, as in tests/test_kill.py; what was measured in training is measured again."""
    settings = ("callbacks=[default,ema]", "callbacks.ema.decay=0.9")
    whole = left_alone(new_run(tmp_path / "alone", "bilstm", *settings))
    killed, tally = new_run(tmp_path / "killed", "bilstm", *settings), Tally()
    assert killed.begin(death=("rename manifest.json", 4)).wait() == -signal.SIGKILL
    assert killed.begin().wait() == 0, killed.terminal.read_text()
    check(killed, whole, tally)
    assert tally.problems == []

    folder, config = open_run(str(whole.run.folder))
    best, state = find_best(folder.checkpoints), load_verified(folder.best)
    assert read_json(folder.result)["val/loss"] == best.scores["val/loss"]
    task, network = load_task(folder, config), load_network(folder, config)
    averages = {name.removeprefix("network."): value for name, value in state[KEY]["average"].items()}
    for found in (dict(task.network.named_parameters()), dict(network.named_parameters())):
        assert all(torch.equal(found[name].detach(), averages[name]) for name in averages)
    assert not all(torch.equal(state[KEY][TRAINED][name], value) for name, value in state[KEY]["average"].items())
