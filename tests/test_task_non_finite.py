"""The guard's way without the host: a fused optimizer leaves steps out by itself, the host learns of it later."""

import functools

import pytest
import torch

from src.errors import Diverged
from src.task import clipping
from src.task.non_finite import NonFiniteGuard, skips_on_device
from tests.test_task_classifier import fit, make_batch, make_task, weights

ADAMW = functools.partial(torch.optim.AdamW, lr=0.1, fused=True)
NAN, INF = float("nan"), float("inf")


def run(losses, *, policy="skip", max_skips=10, read_every=100, optimizer=ADAMW):
    """Steps of these losses, each with a gradient of its own; weights after each, the optimizer, the guard."""
    guard = NonFiniteGuard(policy=policy, max_skips=max_skips)
    weight = torch.nn.Parameter(torch.ones(3))
    made, after = optimizer([weight]), []
    for step, loss in enumerate(losses):
        finite = torch.isfinite(torch.tensor(loss))
        weight.grad = torch.full((3,), float(step + 1)) if finite else torch.tensor([NAN, 1.0, INF])
        guard.defer(loss=torch.tensor(loss), gradient_norm=weight.grad.norm(), step=step, optimizer=made)
        made.step()
        after.append(weight.detach().clone())
        if (step + 1) % read_every == 0:
            guard.read()
    return after, made, guard


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_a_step_left_out_on_the_device_leaves_every_bit_where_it_was(kind):
    optimizer = functools.partial(kind, lr=0.1, fused=True, weight_decay=0.1)
    skipped, made, guard = run([1.0, NAN, 2.0], optimizer=optimizer)
    assert torch.equal(skipped[0], skipped[1])
    state = next(iter(made.state.values()))
    assert state["step"] == 2
    assert torch.isfinite(state["exp_avg"]).all()
    assert torch.isfinite(state["exp_avg_sq"]).all()
    assert not torch.equal(skipped[1], skipped[2])
    guard.read()
    assert (guard.skipped, guard.skipped_in_a_row) == (1, 0)


def test_the_steps_behind_one_left_out_are_those_of_a_run_without_it():
    def train(gradients):
        guard = NonFiniteGuard(policy="skip", max_skips=10)
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = ADAMW([weight])
        for step, value in enumerate(gradients):
            weight.grad = torch.full((3,), value)
            guard.defer(loss=torch.tensor(1.0), gradient_norm=weight.grad.norm(), step=step, optimizer=optimizer)
            optimizer.step()
        return weight

    assert torch.equal(train([0.5, NAN, INF, 0.25, 0.125]), train([0.5, 0.25, 0.125]))


def test_a_non_finite_loss_counts_even_if_the_gradient_is_finite():
    guard, weight = NonFiniteGuard(policy="skip", max_skips=10), torch.nn.Parameter(torch.ones(3))
    optimizer = ADAMW([weight])
    weight.grad = torch.ones(3)
    guard.defer(loss=torch.tensor(INF), gradient_norm=weight.grad.norm(), step=0, optimizer=optimizer)
    optimizer.step()
    assert torch.equal(weight, torch.ones(3))


def test_stop_keeps_the_weights_of_the_last_good_step_until_the_host_has_read():
    after, _, guard = run([1.0, NAN, 1.0, 1.0], policy="stop")
    assert all(torch.equal(later, after[0]) for later in after[1:])
    with pytest.raises(Diverged, match=r"optimizer step 1 the loss was nan and the gradient norm nan"):
        guard.read()


def test_too_many_skips_in_a_row_stop_on_the_device_too():
    losses = [1.0, NAN, NAN, 1.0, NAN, NAN, NAN, 1.0]
    after, _, guard = run(losses, max_skips=3)
    assert not torch.equal(after[2], after[3])
    assert torch.equal(after[3], after[7])
    with pytest.raises(Diverged, match=r"optimizer step 6 .*task.max_skips \(3\)"):
        guard.read()
    assert guard.skipped == 5


def test_how_often_the_host_reads_changes_nothing_it_counts():
    losses = [NAN, 1.0, NAN, NAN, 1.0, NAN]
    rarely, often = run(losses), run(losses, read_every=1)
    rarely[2].read()
    assert all(torch.equal(left, right) for left, right in zip(rarely[0], often[0], strict=True))
    assert (rarely[2].skipped, rarely[2].skipped_in_a_row) == (often[2].skipped, often[2].skipped_in_a_row) == (4, 1)


def test_only_fused_adam_is_trusted_to_leave_steps_out():
    weight = [torch.nn.Parameter(torch.ones(2))]
    trusted = [torch.optim.Adam(weight, fused=True), torch.optim.AdamW(weight, fused=True)]
    others = [
        torch.optim.AdamW(weight),
        torch.optim.SGD(weight, lr=0.1, momentum=0.9, fused=True),
        torch.optim.AdamW([{"params": weight, "fused": True}, {"params": [torch.nn.Parameter(torch.ones(1))]}]),
    ]
    assert [skips_on_device(optimizer) for optimizer in trusted + others] == [True, True, False, False, False]


class NanAt:
    """Spoils the gradient of the head's bias at these batches, counted from 0."""

    def __init__(self, task, batches):
        self.seen, self.batches = 0, batches
        task.network.head.bias.register_hook(self.spoil)

    def spoil(self, gradient):
        self.seen += 1
        return torch.full_like(gradient, NAN) if self.seen - 1 in self.batches else gradient


@pytest.fixture
def deferred(monkeypatch):
    """The CPU treated as a device that the host must not wait for."""
    monkeypatch.setattr(clipping, "judged_on_device", lambda task, loss, optimizer: skips_on_device(optimizer))


@pytest.mark.usefixtures("deferred")
def test_a_whole_run_ends_with_the_bits_of_one_that_looks_at_every_step(monkeypatch):
    batches = [make_batch(range(4 * number, 4 * number + 4)) for number in range(6)]
    deferring = make_task(optimizer=ADAMW, non_finite="skip")
    NanAt(deferring, {1, 2, 4})
    fit(deferring, batches, gradient_clip_val=0.1, log_every_n_steps=50)
    monkeypatch.undo()
    looking = make_task(optimizer=ADAMW, non_finite="skip")
    NanAt(looking, {1, 2, 4})
    fit(looking, batches, gradient_clip_val=0.1)
    assert deferring.guard.skipped == looking.guard.skipped == 3
    assert all(torch.equal(weights(looking)[name], value) for name, value in weights(deferring).items())


@pytest.mark.usefixtures("deferred")
@pytest.mark.parametrize("every", [2, 50])
def test_a_deferred_run_stops_by_the_end_of_its_epoch_with_finite_weights(every):
    """Read every two steps it need not run to the end."""
    task = make_task(optimizer=ADAMW)
    spoiler = NanAt(task, {1})
    with pytest.raises(Diverged, match="optimizer step 1"):
        fit(task, [make_batch(range(4))] * 6, log_every_n_steps=every)
    assert spoiler.seen == (2 if every == 2 else 6)
    assert all(torch.isfinite(value).all() for value in weights(task).values())


@pytest.mark.usefixtures("deferred")
def test_a_deferred_run_has_stopped_before_its_validation():
    task = make_task(optimizer=ADAMW)
    NanAt(task, {1})
    with pytest.raises(Diverged, match="optimizer step 1"):
        fit(task, [make_batch(range(4))] * 4, log_every_n_steps=50, limit_val_batches=1.0, val_check_interval=2)
    assert task.trainer.global_step == 2
