"""Learning rates of groups under a schedule, what is logged of them, and gradual unfreezing."""

import functools

import pytest
import torch

from src.callbacks.learning_rate import LearningRate
from src.errors import UserError
from src.model.transformer_classifier import TransformerClassifier
from src.optimizer.muon import MuonAdamW
from src.schedule.constant import constant
from src.schedule.plateau import plateau
from src.schedule.warmup_linear import warmup_linear
from src.task.classifier import Classifier
from tests.test_task_classifier import fit, make_batch, weights
from tests.test_task_classifier import make_task as make_bilstm_task

ADAMW = functools.partial(torch.optim.AdamW, lr=0.1)
BATCHES = [make_batch(range(4 * number, 4 * number + 4)) for number in range(4)]


def make_task(*, optimizer=ADAMW, schedule=warmup_linear, **settings):
    torch.manual_seed(0)
    network = TransformerClassifier(vocab_size=50, width=16, num_layers=2, num_heads=2, feed_forward_width=24)
    return Classifier(network=network, optimizer=optimizer, schedule=schedule, **settings)


def test_a_schedule_multiplies_the_rate_of_every_depth():
    task = make_task(layer_decay=0.5, schedule=functools.partial(warmup_linear, floor=0.2))
    groups = fit(task, BATCHES, max_epochs=2).optimizers[0].param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.2 * 0.1 * group["lr_scale"] for group in groups])
    assert {group["lr_scale"] for group in groups} == {1.0, 0.5, 0.25, 0.125}


@pytest.mark.filterwarnings("ignore:.*ReduceLROnPlateau.*")
def test_plateau_lowers_the_rate_of_every_depth():
    schedule = functools.partial(plateau, monitor="train/loss", mode="max", factor=0.5, patience=0)
    task = make_task(layer_decay=0.5, schedule=schedule, optimizer=functools.partial(torch.optim.SGD, lr=0.1))
    groups = fit(task, BATCHES, max_epochs=3).optimizers[0].param_groups
    shares = {group["lr"] / group["lr_scale"] for group in groups}
    assert len(shares) == 1
    assert shares.pop() < 0.1


def test_the_logged_rate_is_that_of_the_head():
    task = make_task(layer_decay=0.5, schedule=functools.partial(warmup_linear, floor=0.2))
    trainer = fit(task, BATCHES, callbacks=[LearningRate()])
    assert trainer.callback_metrics["train/learning_rate"].item() == pytest.approx(0.2 * 0.1)


def test_lower_depths_move_less():
    """With SGD and one step a parameter moves by its rate times its gradient."""
    sgd = functools.partial(torch.optim.SGD, lr=0.1)
    start, even, shaped = (make_task(optimizer=sgd, layer_decay=share) for share in (1.0, 1.0, 0.5))
    fit(even, BATCHES[:1])
    fit(shaped, BATCHES[:1])
    for name, before in weights(start).items():
        scale = 0.5 ** (3 - start.network.depth_of(name))
        torch.testing.assert_close(
            weights(shaped)[name] - before, scale * (weights(even)[name] - before), rtol=0, atol=1e-6
        )


def moved(task, start):
    return {
        start.network.depth_of(n) for n, before in weights(start).items() if not torch.equal(before, weights(task)[n])
    }


@pytest.mark.parametrize(
    ("every", "epochs", "expected"),
    [(1.0, 1, {3}), (1.0, 2, {3, 2}), (0.5, 1, {3, 2}), (0.25, 1, {3, 2, 1, 0}), (0.0, 1, {3, 2, 1, 0})],
)
def test_depths_begin_to_learn_from_the_top(every, epochs, expected):
    task, start = make_task(unfreeze_every=every), make_task()
    fit(task, BATCHES, max_epochs=epochs)
    assert moved(task, start) == expected
    assert all(parameter.requires_grad for parameter in task.network.parameters())


def test_an_accumulation_window_is_not_opened_halfway():
    """Its gradient would be that of a part of the window."""
    task, start = make_task(unfreeze_every=0.25), make_task()
    fit(task, BATCHES, accumulate_grad_batches=4)
    assert moved(task, start) == {3}


@pytest.mark.parametrize("setting", [{"layer_decay": 0.9}, {"unfreeze_every": 1.0}])
def test_a_network_without_depths_is_refused(setting):
    key = next(iter(setting))
    with pytest.raises(UserError, match=rf"task.{key} \(.*\) needs a network of blocks, and a BiLSTM has none"):
        fit(make_bilstm_task(**setting), BATCHES)


def test_muon_is_refused_for_a_network_without_blocks():
    with pytest.raises(UserError, match="optimizer=muon is for the matrices of blocks, and a BiLSTM has no blocks"):
        fit(make_bilstm_task(optimizer=functools.partial(MuonAdamW, lr=0.01)), BATCHES)


def test_muon_learns_in_the_trainer():
    task = make_task(optimizer=functools.partial(MuonAdamW, lr=0.01), layer_decay=0.5)
    trainer = fit(task, BATCHES[:2], max_epochs=4, gradient_clip_val=1.0)
    assert trainer.callback_metrics["train/loss"] < 0.6
    assert len(trainer.optimizers[0].state) == len(list(task.network.parameters()))


def test_muon_leaves_out_a_bad_step_to_the_bit():
    muon = functools.partial(MuonAdamW, lr=0.01)
    skipping, single = (make_task(optimizer=muon, schedule=constant, non_finite="skip") for _ in range(2))
    calls = []

    def spoil_the_second(gradient):
        calls.append(gradient)
        return gradient * float("nan") if len(calls) == 2 else gradient

    skipping.network.norm.weight.register_hook(spoil_the_second)
    fit(skipping, BATCHES[:2])
    fit(single, BATCHES[:1])
    assert skipping.guard.skipped == 1
    assert all(torch.equal(weights(single)[name], value) for name, value in weights(skipping).items())
