"""The chunked loss against torch's own over all logits at once, and what it holds in memory."""

import math

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from src.task.linear_cross_entropy import linear_cross_entropy


def make(*, tokens=50, vocabulary=70, width=16, dtype=torch.float32):
    """Hidden, weight, targets; every seventh target is not counted."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(vocabulary, width, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(vocabulary, (tokens,), generator=generator)
    targets[::7] = -100
    return hidden, weight, targets


def plain(hidden, weight, targets, *, z_loss=0.0):
    logits = functional.linear(hidden, weight)
    penalty = logits[targets != -100].float().logsumexp(dim=1).square().sum()
    return functional.cross_entropy(logits, targets, reduction="sum") + z_loss * penalty


def gradients(loss, *parameters):
    return torch.autograd.grad(loss / 43, parameters)  # scaled from above, as a mean is


@pytest.mark.parametrize("z_loss", [0.0, 0.01])
@pytest.mark.parametrize("chunk", [1, 16, 50, 64, None])
def test_loss_and_both_gradients_are_those_of_all_logits_at_once(chunk, z_loss):
    hidden, weight, targets = make()
    expected = plain(hidden, weight, targets, z_loss=z_loss)
    loss = linear_cross_entropy(hidden, weight, targets, chunk=chunk, z_loss=z_loss)
    torch.testing.assert_close(loss.objective, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(loss.nll, plain(hidden, weight, targets), rtol=1e-6, atol=0)
    for ours, theirs in zip(
        gradients(loss.objective, hidden, weight), gradients(expected, hidden, weight), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_gradients_are_the_slopes_of_the_loss():
    hidden, weight, targets = make(tokens=8, vocabulary=9, width=4, dtype=torch.float64)

    def objective(hidden, weight):
        return linear_cross_entropy(hidden, weight, targets, chunk=3, z_loss=0.1).objective

    assert torch.autograd.gradcheck(objective, (hidden, weight))


@pytest.mark.parametrize("hidden_type", [torch.float32, torch.bfloat16])
def test_under_bf16_autocast_it_is_as_near_to_the_truth_as_the_plain_loss(hidden_type):
    """Both round logits and products to 8 bits; nothing else may be rounded that coarsely."""
    hidden, weight, targets = make(tokens=256, vocabulary=512, width=64)
    hidden = hidden.detach().to(hidden_type).requires_grad_()
    weight = (weight.detach() * 0.3).requires_grad_()
    truth = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    exact = plain(*truth, targets)
    with torch.autocast("cpu", torch.bfloat16):
        theirs = plain(hidden, weight, targets)
        ours = linear_cross_entropy(hidden, weight, targets, chunk=100).objective
    assert abs(ours.item() / exact.item() - 1) < 1e-3
    for wanted, near, other in zip(
        gradients(exact, *truth), gradients(ours, hidden, weight), gradients(theirs, hidden, weight), strict=True
    ):
        assert near.dtype == other.dtype
        size = wanted.norm()
        assert (near - wanted).norm() / size < 1.2 * (other - wanted).norm() / size + 1e-3
        assert (near - wanted).norm() / size < 0.01


def test_a_token_foretold_almost_surely_keeps_its_small_gradient():
    """p - 1 with p rounded to bf16 first would be 0."""
    hidden = torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    weight = torch.tensor([[8.0, 0.0], [0.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    linear_cross_entropy(hidden, weight, torch.tensor([0])).objective.backward()
    assert weight.grad[0, 0].item() == pytest.approx(-1 / (1 + math.exp(8)), rel=0.01)


def test_parameters_in_bf16_get_gradients_in_bf16():
    hidden, weight, targets = make(dtype=torch.bfloat16)
    loss = linear_cross_entropy(hidden, weight, targets, chunk=16)
    assert loss.nll.dtype == torch.float32
    assert [gradient.dtype for gradient in gradients(loss.objective, hidden, weight)] == [torch.bfloat16] * 2


class Watch(TorchDispatchMode):
    """Notes the largest tensor that an operation returns, and how many matrix products there are."""

    def __init__(self):
        super().__init__()
        self.largest = self.products = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.largest = max([self.largest, *sizes])
        self.products += function._overloadpacket is torch.ops.aten.mm
        return result


def test_no_tensor_ever_holds_all_logits():
    hidden, weight, targets = make(tokens=400, vocabulary=300)
    with Watch() as ours:
        linear_cross_entropy(hidden, weight, targets, chunk=32).objective.backward()
    with Watch() as theirs:
        plain(hidden, weight, targets).backward()
    assert ours.largest == 32 * 300
    assert theirs.largest == 400 * 300


def test_evaluation_and_frozen_matrices_cost_no_product_for_gradients():
    hidden, weight, targets = make(tokens=64)
    products = []
    for watched, frozen in ((torch.no_grad(), weight), (torch.enable_grad(), weight.detach())):
        with Watch() as watch, watched:
            linear_cross_entropy(hidden, frozen, targets, chunk=32)
        products.append(watch.products)
    assert products == [2, 4]


def test_a_batch_without_counted_targets_moves_nothing():
    hidden, weight, targets = make()
    loss = linear_cross_entropy(hidden, weight, torch.full_like(targets, -100), z_loss=0.1)
    loss.objective.backward()
    assert loss.objective.item() == loss.nll.item() == 0
    assert hidden.grad.abs().max() == weight.grad.abs().max() == 0


def test_a_nan_in_a_hidden_state_is_seen_in_the_loss():
    hidden, weight, targets = make()
    with torch.no_grad():
        hidden[1, 0] = float("nan")
    assert math.isnan(linear_cross_entropy(hidden, weight, targets, chunk=8).nll.item())


# The compiler's own way of reading an autograd function.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated.*:DeprecationWarning")
def test_it_compiles_into_one_graph():
    hidden, weight, targets = make()

    def objective(hidden, weight):
        return linear_cross_entropy(hidden, weight, targets, chunk=20, z_loss=0.01).objective

    compiled = torch.compile(objective, fullgraph=True, backend="eager")
    for ours, theirs in zip(
        gradients(compiled(hidden, weight), hidden, weight),
        gradients(objective(hidden, weight), hidden, weight),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.skipif(torch.__version__ < (2, 13), reason="torch has no linear_cross_entropy before 2.13")
def test_it_agrees_with_torchs_own():
    hidden, weight, targets = make()
    expected = functional.linear_cross_entropy(hidden, weight, targets, reduction="sum")
    loss = linear_cross_entropy(hidden, weight, targets, chunk=16).objective
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    for ours, theirs in zip(gradients(loss, hidden, weight), gradients(expected, hidden, weight), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
