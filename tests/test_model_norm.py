"""The norm against torch's own: values and gradients, in every type it meets."""

import pytest
import torch
from torch.nn import functional

from src.model.norm import RMSNorm


def make(width=24, epsilon=1e-5):
    torch.manual_seed(0)
    norm = RMSNorm(width, epsilon=epsilon)
    with torch.no_grad():
        norm.weight.normal_()
    return norm


def test_its_gradient_is_that_of_the_formula():
    norm = make(width=6).double()
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,))


@pytest.mark.parametrize("shape", [(5, 24), (2, 7, 24), (2, 3, 4, 24)])
def test_it_gives_what_torch_gives(shape):
    norm, x, other = make(), torch.randn(shape, requires_grad=True), torch.randn(shape)
    gain = norm.weight.detach().clone().requires_grad_()
    copy = x.detach().clone().requires_grad_()
    expected = functional.rms_norm(copy, (24,), gain, 1e-5)
    found = norm(x)
    (found * other).sum().backward()
    (expected * other).sum().backward()
    for mine, torchs in ((found, expected), (x.grad, copy.grad), (norm.weight.grad, gain.grad)):
        torch.testing.assert_close(mine, torchs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("whole", [True, False])
def test_half_precision_comes_back_as_it_came_and_is_no_further_off_than_its_rounding(whole):
    """whole: weights in bfloat16 too, as in precision=bf16_true."""
    norm, x = make(), torch.randn(64, 24)
    exact = functional.rms_norm(x.bfloat16().double(), (24,), norm.weight.double(), 1e-5)
    found = (norm.bfloat16() if whole else norm)(x.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2 ** (-6 if whole else -8), atol=1e-6)


def test_a_vector_of_zeros_stays_zero_and_has_a_gradient():
    x = torch.zeros(2, 24, requires_grad=True)
    found = make()(x)
    found.sum().backward()
    assert not found.any()
    assert torch.isfinite(x.grad).all()
