"""Muon and AdamW as one optimizer against the two of torch side by side."""

import copy
import io

import pytest
import torch

from src.errors import UserError
from src.model.transformer import Transformer
from src.optimizer.groups import parameter_groups
from src.optimizer.muon import MuonAdamW


def make_network():
    torch.manual_seed(0)
    return Transformer(vocab_size=20, width=16, num_layers=2, num_heads=2, feed_forward_width=24, tie_embeddings=False)


def make(network, **settings):
    return MuonAdamW(parameter_groups(network, decay="matrices"), **{"lr": 0.01, **settings})


def take_steps(network, optimizers, *, first, last, schedules=()):
    """Steps whose gradients depend on the step only."""
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()
        for schedule in schedules:
            schedule.step()


def assert_equal(left, right):
    for (name, ours), theirs in zip(left.named_parameters(), right.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def halve(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)


def test_it_is_torchs_muon_for_blocks_and_torchs_adamw_for_the_rest():
    ours, theirs = make_network(), make_network()
    optimizer = make(ours, weight_decay=0.2)
    take_steps(ours, [optimizer], first=0, last=4, schedules=[halve(optimizer)])
    named = dict(theirs.named_parameters())
    matrices = [p for name, p in named.items() if name.startswith("blocks.") and p.ndim == 2]
    tables = [named["embedding.weight"], named["head.weight"]]
    vectors = [p for p in named.values() if p.ndim == 1]
    pair = [
        torch.optim.Muon(matrices, lr=0.01, weight_decay=0.2, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [{"params": tables}, {"params": vectors, "weight_decay": 0.0}],
            lr=0.01, weight_decay=0.2, betas=(0.9, 0.95), fused=True,
        ),
    ]  # fmt: skip
    take_steps(theirs, pair, first=0, last=4, schedules=[halve(part) for part in pair])
    assert_equal(ours, theirs)


def test_a_matrix_moves_about_as_far_as_adamw_moves_a_table():
    """So one learning rate fits both: a root mean square of 0.2 lr or so against lr for AdamW's first step."""
    network = make_network()
    before = copy.deepcopy(network)
    take_steps(network, [make(network, weight_decay=0.0)], first=0, last=1)
    moved = {
        name: (new - old).square().mean().sqrt().item() / 0.01
        for (name, new), old in zip(network.named_parameters(), before.parameters(), strict=True)
    }
    assert moved["embedding.weight"] == pytest.approx(1.0, rel=0.01)
    blocks = [size for name, size in moved.items() if name.startswith("blocks.") and "norm" not in name]
    assert all(0.1 < size < 0.3 for size in blocks)


def test_its_state_moves_through_a_file_to_the_bit():
    """Groups and state are made anew by loading; both optimizers must then work on the new ones."""
    straight, resumed = make_network(), make_network()
    optimizer = make(straight)
    schedule = halve(optimizer)
    take_steps(straight, [optimizer], first=0, last=3, schedules=[schedule])
    file = io.BytesIO()
    torch.save(
        {"weights": straight.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, file
    )
    take_steps(straight, [optimizer], first=3, last=6, schedules=[schedule])
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed.load_state_dict(saved["weights"])
    fresh = make(resumed)
    later = halve(fresh)
    fresh.load_state_dict(saved["optimizer"])
    later.load_state_dict(saved["schedule"])
    take_steps(resumed, [fresh], first=3, last=6, schedules=[later])
    assert_equal(straight, resumed)
    assert [group["lr"] for group in fresh.param_groups] == [group["lr"] for group in optimizer.param_groups]


def test_groups_and_state_hold_every_parameter_once():
    network = make_network()
    optimizer = make(network)
    take_steps(network, [optimizer], first=0, last=1)
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert set(grouped) == set(optimizer.state) == set(network.parameters())
    assert len(grouped) == len(set(grouped))


def test_a_parameter_without_a_gradient_is_passed_over():
    network = make_network()
    before = copy.deepcopy(network)
    optimizer = make(network)
    optimizer.zero_grad()
    optimizer.step()
    assert_equal(network, before)


def test_the_closure_runs_once_and_with_gradients():
    network = make_network()
    optimizer, calls = make(network), []

    def closure():
        loss = network(torch.zeros(1, 2, dtype=torch.long)).square().mean()
        loss.backward()
        calls.append(loss)
        return loss

    before = copy.deepcopy(network)
    assert optimizer.step(closure) is calls[0]
    assert len(calls) == 1
    assert not torch.equal(network.norm.weight, before.norm.weight)


def test_groups_without_a_mark_send_their_matrices_to_muon():
    matrix, vector = torch.nn.Parameter(torch.ones(3, 4)), torch.nn.Parameter(torch.ones(3))
    groups = MuonAdamW([matrix, vector]).param_groups
    assert [("momentum" in group, group["params"][0] is matrix) for group in groups] == [(False, False), (True, True)]


def test_without_a_matrix_it_refuses():
    with pytest.raises(UserError, match="optimizer=muon finds no matrix"):
        MuonAdamW([torch.nn.Parameter(torch.ones(3))])
