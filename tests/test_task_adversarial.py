"""Adversarial training against the same thing done in the slow, obvious way."""

import pytest
import torch
from torch.nn import functional as F

from src.errors import UserError
from src.model.bilstm import BiLSTM
from src.task.adversarial import adversarial_loss, read_apart, worst_step


@pytest.fixture
def setting():
    torch.manual_seed(0)
    network = BiLSTM(vocab_size=30, width=6, hidden=5, pooling="mean_max", dropout=0.0)
    lengths = torch.tensor([7, 4, 1])
    ids = torch.randint(1, 30, (3, 7)) * (torch.arange(7) < lengths[:, None])
    labels = torch.tensor([0, 1, 1])
    return network, ids, lengths, lambda logits: F.cross_entropy(logits, labels)


def test_value_and_gradients_are_those_of_two_plain_passes(setting):
    network, ids, lengths, loss = setting
    table = network.embedding.weight
    rows = table[ids].detach().requires_grad_()

    def logits(words):
        outputs = []
        for row, length in enumerate(lengths.tolist()):
            forward, _ = network.lstm(words[row : row + 1, :length])
            both = forward[0].float()
            pooled = [torch.cat([half.mean(0), half.max(0).values]) for half in both.split(5, dim=1)]
            outputs.append(network.head(torch.cat(pooled)))
        return torch.stack(outputs)

    slope = torch.autograd.grad(loss(logits(rows)), rows)[0]
    size = torch.cat([rows[i, :n] for i, n in enumerate(lengths.tolist())]).square().mean().sqrt()
    step = 5.0 * size * slope / slope.flatten(1).norm(dim=1)[:, None, None]
    truth = (loss(logits(table[ids])) + loss(logits(table[ids] + step))) / 2
    expected = torch.autograd.grad(truth, list(network.parameters()))

    found = adversarial_loss(network, ids, lengths, loss=loss, epsilon=5.0)
    found.backward()
    torch.testing.assert_close(found, truth, atol=1e-6, rtol=1e-5)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        gradient = gradient.index_fill(0, torch.tensor([0]), 0) if parameter is table else gradient
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-6, rtol=1e-4)


def test_the_worst_step_raises_the_loss_more_than_a_random_one_as_long(setting):
    network, ids, lengths, loss = setting
    plain = loss(network(ids, lengths)).item()
    worst = 2 * adversarial_loss(network, ids, lengths, loss=loss, epsilon=1.0).item() - plain
    embedded = network.embedding(ids).detach()
    for _ in range(5):
        step = worst_step(torch.randn(embedded.shape), embedded, lengths, epsilon=1.0)
        assert worst > loss(read_apart(network, embedded + step, lengths)).item()
    assert worst > plain


def test_without_epsilon_it_is_the_plain_loss(setting):
    network, ids, lengths, loss = setting
    plain = loss(network(ids, lengths))
    expected = torch.autograd.grad(plain, list(network.parameters()))
    found = adversarial_loss(network, ids, lengths, loss=loss, epsilon=0.0)
    found.backward()
    torch.testing.assert_close(found, plain)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-7, rtol=1e-5)


def test_each_review_moves_by_epsilon_and_padding_stays():
    lengths = torch.tensor([3, 1])
    embedded = torch.randn(2, 3, 4) * 0.1
    step = worst_step(torch.randn(2, 3, 4), embedded, lengths, epsilon=2.0)
    size = torch.cat([embedded[0], embedded[1, :1]]).square().mean().sqrt()
    torch.testing.assert_close(step.flatten(1).norm(dim=1), 2 * size.expand(2))
    assert step[1, 1:].eq(0).all()


def test_a_review_without_a_slope_stays_where_it_is():
    step = worst_step(torch.zeros(1, 2, 3), torch.ones(1, 2, 3), torch.tensor([2]), epsilon=5.0)
    assert step.eq(0).all()


def test_token_dropout_is_refused(setting):
    _, ids, lengths, loss = setting
    network = BiLSTM(vocab_size=30, width=6, hidden=5, token_dropout=0.1)
    with pytest.raises(UserError, match="token_dropout"):
        adversarial_loss(network, ids, lengths, loss=loss, epsilon=5.0)
