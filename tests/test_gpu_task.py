"""What only a CUDA device can show of loss, guard and optimizers; skipped elsewhere, run with `pytest -m gpu`."""

import functools

import lightning
import pytest
import torch
from torch.nn import functional

from src.errors import Diverged
from src.optimizer.muon import MuonAdamW
from src.task.linear_cross_entropy import linear_cross_entropy
from tests.test_task_classifier import fit, weights
from tests.test_task_language_model import make_block, make_task
from tests.test_task_linear_cross_entropy import gradients, make, plain

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]

ADAMW = functools.partial(torch.optim.AdamW, lr=0.01, fused=True)
MUON = functools.partial(MuonAdamW, lr=0.01)
NAN = float("nan")


def on_the_device(**settings):
    hidden, weight, targets = make(**settings)
    return hidden.detach().cuda().requires_grad_(), weight.detach().cuda().requires_grad_(), targets.cuda()


@pytest.mark.parametrize("chunk", [16, None])
def test_the_chunked_loss_is_that_of_all_logits_at_once(chunk):
    hidden, weight, targets = on_the_device(tokens=200, vocabulary=300, width=64)
    expected = plain(hidden, weight, targets, z_loss=0.01)
    loss = linear_cross_entropy(hidden, weight, targets, chunk=chunk, z_loss=0.01).objective
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    for ours, theirs in zip(gradients(loss, hidden, weight), gradients(expected, hidden, weight), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_under_bf16_autocast_it_is_as_near_to_the_truth_as_the_plain_loss():
    hidden, weight, targets = on_the_device(tokens=512, vocabulary=1024, width=128)
    weight = (weight.detach() * 0.3).requires_grad_()
    truth = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    wanted = gradients(plain(*truth, targets), *truth)
    with torch.autocast("cuda", torch.bfloat16):
        theirs = gradients(plain(hidden, weight, targets), hidden, weight)
        ours = gradients(linear_cross_entropy(hidden, weight, targets, chunk=100).objective, hidden, weight)
    for exact, near, other in zip(wanted, ours, theirs, strict=True):
        assert (near - exact).norm() < 1.2 * (other - exact).norm() + 0.001 * exact.norm()


def test_the_chunked_loss_takes_a_fraction_of_the_memory():
    def peak(loss_of):
        hidden, weight, targets = on_the_device(tokens=16384, vocabulary=32768, width=64)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with torch.autocast("cuda", torch.bfloat16):
            loss_of(hidden, weight, targets).backward()
        return torch.cuda.max_memory_allocated() - before

    whole = peak(lambda hidden, weight, targets: functional.cross_entropy(functional.linear(hidden, weight), targets))
    chunked = peak(lambda *tensors: linear_cross_entropy(*tensors, chunk=1024).objective)
    assert chunked < whole / 8


class NoSync(lightning.Callback):
    """Makes every wait of the host for the device an error, from the third batch on: the first ones allocate."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx >= 2:
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        torch.cuda.set_sync_debug_mode("default")

    def on_exception(self, trainer, pl_module, exception):
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_no_step_waits_for_the_device(precision, accumulate):
    task = make_task(optimizer=ADAMW, z_loss=1e-4)
    settings = {"precision": precision, "accumulate_grad_batches": accumulate, "log_every_n_steps": 50}
    trainer = fit(
        task, [make_block(range(4))] * 8, accelerator="gpu", gradient_clip_val=1.0, callbacks=[NoSync()], **settings
    )
    assert trainer.global_step == 8 // accumulate


def spoil(task, steps):
    """The gradient of one parameter becomes NaN at these batches, without a look at the device."""
    seen = []

    def hook(gradient):
        seen.append(len(seen))
        return gradient * NAN if seen[-1] in steps else gradient

    task.network.norm.weight.register_hook(hook)
    return seen


@pytest.mark.parametrize("optimizer", [ADAMW, MUON], ids=["adamw", "muon"])
def test_a_step_left_out_changes_no_bit(optimizer):
    """AdamW's own kernel leaves it out, unseen by the host; Muon's steps are judged by the host."""
    blocks = [make_block(range(4 * number, 4 * number + 4)) for number in range(4)]
    skipping, without = (make_task(optimizer=optimizer, non_finite="skip") for _ in range(2))
    spoil(skipping, {1, 2})
    settings = {"accelerator": "gpu", "gradient_clip_val": 0.1, "log_every_n_steps": 50}
    trainer = fit(skipping, blocks, **settings)
    fit(without, [blocks[0], blocks[3]], **settings)
    assert skipping.guard.skipped == 2
    for name, value in weights(skipping).items():
        assert torch.equal(weights(without)[name], value)
    assert all(
        torch.isfinite(moment).all() for state in trainer.optimizers[0].state.values() for moment in state.values()
    )


@pytest.mark.parametrize("every", [2, 50])
def test_a_diverged_run_stops_with_the_weights_of_its_last_good_step(every):
    task, single = make_task(optimizer=ADAMW), make_task(optimizer=ADAMW)
    seen = spoil(task, {1})
    settings = {"accelerator": "gpu", "log_every_n_steps": every}
    with pytest.raises(Diverged, match=r"optimizer step 1 .*gradient norm nan"):
        fit(task, [make_block(range(4))] * 6, **settings)
    assert len(seen) == (2 if every == 2 else 6)
    fit(single, [make_block(range(4))], **settings)
    assert all(
        torch.equal(weights(single)[name], value.to(weights(single)[name])) for name, value in weights(task).items()
    )


def test_fp16_with_its_loss_scaler_still_trains():
    task = make_task(optimizer=functools.partial(torch.optim.AdamW, lr=0.01))
    trainer = fit(
        task, [make_block(range(4))] * 20, accelerator="gpu", precision="16-mixed", gradient_clip_val=1.0, max_epochs=2
    )
    assert trainer.callback_metrics["train/loss"] < 3.5
