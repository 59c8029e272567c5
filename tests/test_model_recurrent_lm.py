"""The two LSTM language models: what each may see, what they compute, and what the classifier takes over."""

import math

import pytest
import torch
from torch.nn import functional as F

from src.errors import UserError
from src.model.bilstm import BiLSTM
from src.model.recurrent_lm import RecurrentLanguageModel, zipf
from src.model.transfer import copy_shared

V, D, H = 40, 6, 5


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = RecurrentLanguageModel(vocab_size=V, width=D, hidden=H)
    torch.nn.init.normal_(network.embedding.weight)
    return network


def passages(*lengths):
    ids = torch.randint(1, V, (len(lengths), max(lengths)))
    lengths = torch.tensor(lengths)
    return ids * (torch.arange(ids.shape[1]) < lengths[:, None]), lengths


def exact(features, targets, table, bias):
    return F.cross_entropy(features @ table.t() + bias, targets, ignore_index=0, reduction="sum")


def test_a_direction_never_sees_the_words_it_predicts(network):
    """Word 4 changes: logits of the words up to it (read forward) and from it on (read backward) keep their bits."""
    ids, lengths = passages(8)
    changed = ids.clone()
    changed[0, 4] = ids[0, 4] % (V - 1) + 1
    after, before = network(ids, lengths)
    new_after, new_before = network(changed, lengths)
    assert torch.equal(after[:, :4], new_after[:, :4])
    assert not torch.equal(after[:, 4], new_after[:, 4])
    assert torch.equal(before[:, 5:], new_before[:, 5:])
    assert not torch.equal(before[:, 4], new_before[:, 4])


def test_logits_are_those_of_two_plain_lstms_on_each_passage_alone(network):
    ids, lengths = passages(9, 4, 2)
    after, before = network(ids, lengths)
    for row, length in enumerate(lengths.tolist()):
        outputs = network.lstm(network.embedding(ids[row : row + 1, :length]))[0][0]
        forward, reverse = outputs.split(H, dim=1)
        table = network.embedding.weight.t()
        expected_after = network.projection(forward) @ table + network.bias
        expected_before = network.projection_reverse(reverse) @ table + network.bias
        torch.testing.assert_close(after[row, :length], expected_after, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(before[row, :length], expected_before, atol=1e-5, rtol=1e-5)


def test_the_scores_are_the_losses_of_the_next_and_of_the_previous_word(network):
    ids, lengths = passages(9, 4, 2)
    after, before = network(ids, lengths)
    forward, reverse = network.score(ids, lengths, exact)
    expected = [0.0, 0.0]
    for row, length in enumerate(lengths.tolist()):
        words = ids[row, :length]
        expected[0] += F.cross_entropy(after[row, : length - 1], words[1:], reduction="sum").item()
        expected[1] += F.cross_entropy(before[row, 1:length], words[:-1], reduction="sum").item()
    assert [forward.item(), reverse.item()] == pytest.approx(expected, rel=1e-5)


def test_one_core_per_direction_changes_neither_losses_nor_gradients(network):
    ids, lengths = passages(9, 4, 2)
    threads = torch.get_num_threads()
    found = []
    try:
        for number, parallel in ((1, False), (2, True)):
            torch.set_num_threads(number)
            network.parallel_directions = parallel
            network.zero_grad()
            losses = torch.stack(network.score(ids, lengths, exact))
            losses.sum().backward()
            found.append([losses.detach(), *(parameter.grad.clone() for parameter in network.parameters())])
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


def test_the_classifier_takes_embedding_and_lstm_by_name(network):
    classifier = BiLSTM(vocab_size=V, width=D, hidden=H, pooling="mean_max")
    found = copy_shared(classifier, network.state_dict())
    assert found.fresh == ["head.weight", "head.bias"]
    assert found.unequal == []
    assert set(found.unused) == {name for name in network.state_dict() if name.startswith(("projection", "bias"))}
    ids, _ = passages(7, 7)
    torch.testing.assert_close(
        classifier.lstm(classifier.embedding(ids))[0], network.lstm(network.embedding(ids))[0], atol=0, rtol=0
    )


def test_the_biases_start_at_zipfs_law_and_padding_is_never_predicted():
    share = zipf(1000)
    assert share.sum().item() == pytest.approx(1, abs=1e-6)
    assert share[1].item() == pytest.approx(math.log(2) / math.log(1000), rel=1e-6)
    after, _ = RecurrentLanguageModel(vocab_size=1000, width=4, hidden=3)(*passages(5))
    probabilities = after.softmax(-1)
    assert probabilities[..., 0].max() < 1e-30
    # Small embeddings: the first guess is Zipf's law, whatever the words before.
    torch.testing.assert_close(probabilities[0, -1, 1:], share[1:], rtol=0.3, atol=0)


def test_parameters_are_those_of_the_formula():
    with torch.device("meta"):
        network = RecurrentLanguageModel(vocab_size=V, width=D, hidden=H)
        default = RecurrentLanguageModel()
    expected = V * D + V + 2 * (4 * H * (D + H + 2)) + 2 * (H * D + D)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected
    assert sum(parameter.numel() for parameter in default.parameters()) == 11_126_576


@pytest.mark.parametrize(("name", "value"), [("vocab_size", 2), ("width", 0), ("hidden", 0)])
def test_sizes_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(UserError, match=rf"{name} \({value}\)"):
        RecurrentLanguageModel(**{"vocab_size": V, name: value})
