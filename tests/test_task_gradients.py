"""Clipping against torch's own, where torch has all of the gradient in one process; see also test_strategy_sameness."""

import pytest
import torch
from torch import nn

from src.task.gradients import clip, total_norm


def make(dtype):
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in ((4, 3), (5,), ())]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape).to(dtype)
    return parameters


def gradients(parameters):
    return [parameter.grad.clone() for parameter in parameters]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("limit", [0.5, 1e6])
def test_clipping_by_the_norm_gives_the_bits_of_torch(dtype, limit):
    ours, theirs = make(dtype), make(dtype)
    norm = total_norm(ours)
    clip(ours, limit, norm, algorithm="norm")
    assert torch.equal(norm, nn.utils.clip_grad_norm_(theirs, limit))
    assert all(map(torch.equal, gradients(ours), gradients(theirs)))


def test_clipping_by_value_gives_the_bits_of_torch():
    ours, theirs = make(torch.float32), make(torch.float32)
    clip(ours, 0.3, total_norm(ours), algorithm="value")
    nn.utils.clip_grad_value_(theirs, 0.3)
    assert all(map(torch.equal, gradients(ours), gradients(theirs)))


def test_a_step_that_is_left_out_has_nothing_to_clip():
    parameters = make(torch.float32)
    norm = total_norm(parameters)
    for parameter in parameters:
        parameter.grad = None
    clip(parameters, 1.0, norm, algorithm="norm")
    assert all(parameter.grad is None for parameter in parameters)
