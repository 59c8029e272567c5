"""Sampled softmax against dense formulas, and its promise: the minimum is the full softmax, whatever the sample."""

from itertools import product

import pytest
import torch
from torch.nn import functional as F

from src.task.sampled_softmax import CHUNK, correction, draw, full_loss, inclusion, sampled_loss

V, D = 50, 8


def problem(rows, *, vocab_size=V, dtype=torch.float32):
    torch.manual_seed(0)
    features = torch.randn(rows, D).to(dtype).requires_grad_()
    table = (torch.randn(vocab_size, D) * 0.5).requires_grad_()
    bias = torch.randn(vocab_size, requires_grad=True)
    return features, torch.randint(0, vocab_size, (rows,)), table, bias  # about rows / V of the targets are padding


def dense(features, targets, table, bias, sample, log_inclusion):
    """Each target against the sample without itself, every logit minus log pi, by a loop over the targets."""
    total = 0.0
    for feature, target in zip(features.float(), targets.tolist(), strict=True):
        if target == 0:
            continue
        candidates = torch.cat([torch.tensor([target]), sample[sample != target]])
        logits = table[candidates] @ feature + bias[candidates] - log_inclusion[candidates]
        total = total + F.cross_entropy(logits[None], torch.tensor([0]))
    return total


def gradients(loss, *tensors):
    return torch.autograd.grad(loss, tensors)


@pytest.mark.parametrize("rows", [1, 60, CHUNK + 3])
def test_loss_and_gradients_are_those_of_the_dense_formula(rows):
    features, targets, table, bias = problem(rows)
    probabilities = inclusion(V, 12)
    sample = draw(probabilities)
    arguments = (features, targets, table, bias, sample, correction(probabilities))
    assert bool(torch.isin(targets[targets > 0], sample).any()) or rows == 1, "no target is its own negative here"
    found, truth = sampled_loss(*arguments), dense(*arguments)
    torch.testing.assert_close(found, torch.as_tensor(truth), rtol=1e-5, atol=1e-4)
    if rows > 1:
        for one, two in zip(
            gradients(3 * found, features, table, bias), gradients(3 * truth, features, table, bias), strict=True
        ):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_with_all_words_in_the_sample_it_is_the_full_softmax():
    features, targets, table, bias = problem(60)
    words = torch.arange(1, V)
    found = sampled_loss(features, targets, table, bias, words, correction(torch.ones(V)))
    real = targets > 0
    truth = F.cross_entropy((features @ table.t() + bias)[real][:, 1:], targets[real] - 1, reduction="sum")
    torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-5)
    for one, two in zip(gradients(found, features, table, bias), gradients(truth, features, table, bias), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_at_the_true_distribution_the_expected_gradient_is_zero():
    """Over every possible sample of five words, weighted by its probability, and every target, weighted by its own.

    The words' biases are the logs of the truth. Without the correction, or with a wrong one, the sum is not zero.
    """
    truth = torch.tensor([0.0, 0.5, 0.3, 0.15, 0.05])
    probabilities = torch.tensor([0.0, 0.9, 0.6, 0.3, 0.2])
    bias = truth.clamp(min=1e-9).log().requires_grad_()
    table, features = torch.zeros(5, 1), torch.zeros(1, 1)

    def expected_gradient(log_inclusion):
        total = torch.zeros(5)
        for inside in product([False, True], repeat=4):
            inside = torch.tensor([False, *inside])
            chance = torch.where(inside, probabilities, 1 - probabilities)[1:].prod()
            for target in range(1, 5):
                sample = inside.nonzero()[:, 0]
                loss = sampled_loss(features, torch.tensor([target]), table, bias, sample, log_inclusion)
                total += chance * truth[target] * torch.autograd.grad(loss, bias)[0]
        return total

    assert expected_gradient(correction(probabilities)).abs().max() < 1e-6
    assert expected_gradient(torch.zeros(5)).abs().max() > 0.01


def test_padding_adds_nothing():
    features, targets, table, bias = problem(60)
    probabilities = inclusion(V, 12)
    sample, log_inclusion = draw(probabilities), correction(probabilities)
    found = sampled_loss(features, targets, table, bias, sample, log_inclusion)
    real = targets > 0
    assert not real.all()
    kept = sampled_loss(features[real], targets[real], table, bias, sample, log_inclusion)
    torch.testing.assert_close(found, kept)
    d_features, d_table, d_bias = gradients(found, features, table, bias)
    assert d_features[~real].eq(0).all()
    assert d_table[0].eq(0).all()
    assert d_bias[0] == 0


def test_bfloat16_features_stay_within_two_percent():
    features, targets, table, bias = problem(200, dtype=torch.bfloat16)
    probabilities = inclusion(V, 12)
    rest = (targets, table, bias, draw(probabilities), correction(probabilities))
    found, truth = sampled_loss(features, *rest), sampled_loss(features.float(), *rest)
    assert found.item() == pytest.approx(truth.item(), rel=0.005)
    for one, two in zip(gradients(found, features, table), gradients(truth, features, table), strict=True):
        assert (one.float() - two.float()).norm() < 0.02 * two.float().norm()


@pytest.mark.parametrize(("vocab_size", "num_samples"), [(50, 5), (30000, 1024)])
def test_the_sample_has_the_promised_size_in_the_mean_and_favours_frequent_words(vocab_size, num_samples):
    probabilities = inclusion(vocab_size, num_samples)
    assert probabilities.sum().item() == pytest.approx(num_samples, rel=1e-4)
    assert probabilities[0] == 0
    assert probabilities[1:].diff().max() < 1e-6
    assert probabilities[1] > 2 * probabilities[-1]


def test_more_samples_than_words_are_all_words():
    assert draw(inclusion(V, V)).tolist() == list(range(1, V))


def test_draws_are_as_frequent_as_promised():
    torch.manual_seed(0)
    probabilities = inclusion(V, 12)
    counts = torch.zeros(V)
    for _ in range(2000):
        counts[draw(probabilities)] += 1
    assert (counts / 2000 - probabilities).abs().max() < 0.05  # 4.5 standard deviations of a half


def test_the_full_loss_is_the_cross_entropy_over_all_chunks():
    features, targets, table, bias = problem(CHUNK + 5, vocab_size=2 * CHUNK + 7)
    targets = targets.index_fill(0, torch.tensor([3]), 0)
    bias = bias.detach().index_fill(0, torch.tensor([0]), -100)
    with torch.no_grad():
        truth = F.cross_entropy(features @ table.t() + bias, targets, ignore_index=0, reduction="sum")
        torch.testing.assert_close(full_loss(features, targets, table, bias), truth, rtol=1e-5, atol=1e-3)
