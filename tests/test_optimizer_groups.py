"""Which parameters decay, at which rate each depth learns, and that every parameter is in one group."""

import pytest
import torch

from src.errors import UserError
from src.model.bilstm import BiLSTM
from src.model.transformer import Transformer
from src.model.transformer_classifier import TransformerClassifier
from src.optimizer.groups import parameter_groups

SIZES = {"vocab_size": 20, "width": 16, "num_layers": 3, "num_heads": 2, "feed_forward_width": 24}


def names_of(network, group):
    return {name for name, parameter in network.named_parameters() if any(parameter is p for p in group["params"])}


def decaying(network, decay):
    groups = parameter_groups(network, decay=decay)
    return set().union(*(names_of(network, group) for group in groups if "weight_decay" not in group))


NETWORKS = {
    "bilstm": lambda: BiLSTM(vocab_size=20, width=8, hidden=8),
    "tied": lambda: Transformer(**SIZES),
    "untied": lambda: Transformer(**SIZES, tie_embeddings=False, qk_norm=True),
    "classifier": lambda: TransformerClassifier(**SIZES),
}


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
@pytest.mark.parametrize("decay", ["matrices", "no_embeddings", "all"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_is_in_exactly_one_group(name, decay, layer_decay):
    network = NETWORKS[name]()
    if name == "bilstm" and layer_decay != 1.0:
        return
    found = [p for group in parameter_groups(network, decay=decay, layer_decay=layer_decay) for p in group["params"]]
    assert len(found) == len(set(found)) == len(list(network.parameters()))


@pytest.mark.parametrize("name", NETWORKS)
def test_decay_is_for_matrices_and_for_embeddings_unless_told_otherwise(name):
    network = NETWORKS[name]()
    named = dict(network.named_parameters())
    matrices = {key for key, parameter in named.items() if parameter.ndim >= 2}
    assert decaying(network, "matrices") == matrices
    assert decaying(network, "no_embeddings") == matrices - {"embedding.weight"}
    assert decaying(network, "all") == set(named)


def test_the_groups_of_the_bilstm_are_what_they_were():
    """Its runs must not move by a bit, so neither may the order in which one kernel meets its parameters."""
    network = NETWORKS["bilstm"]()
    matrices, vectors = parameter_groups(network, decay="matrices")
    assert [id(p) for p in matrices["params"]] == [id(p) for p in network.parameters() if p.ndim >= 2]
    assert (matrices.keys(), vectors["weight_decay"]) == ({"params"}, 0.0)


def test_matrices_of_blocks_are_marked():
    network = NETWORKS["untied"]()
    marked = [
        name for g in parameter_groups(network, decay="matrices") if g["in_blocks"] for name in names_of(network, g)
    ]
    assert len(marked) == 3 * 4
    assert all(name.startswith("blocks.") and "norm" not in name for name in marked)


def test_each_depth_learns_at_a_share_of_the_rate_above_it():
    network = NETWORKS["classifier"]()
    groups = parameter_groups(network, decay="matrices", layer_decay=0.5)
    scales = {name: group["lr_scale"] for group in groups for name in names_of(network, group)}
    expected = {
        "classifier": 1.0,
        "norm": 1.0,
        "blocks.2": 0.5,
        "blocks.1": 0.25,
        "blocks.0": 0.125,
        "embedding": 0.0625,
    }
    for name, scale in scales.items():
        assert scale == next(value for prefix, value in expected.items() if name.startswith(f"{prefix}."))
    assert groups[0]["lr_scale"] == 1.0


def test_frozen_parameters_are_left_out():
    network = NETWORKS["classifier"]()
    network.embedding.weight.requires_grad_(False)
    found = [p for group in parameter_groups(network, decay="matrices", layer_decay=0.5) for p in group["params"]]
    assert len(found) == len(list(network.parameters())) - 1


def test_a_network_without_depths_is_refused():
    with pytest.raises(UserError, match=r"task.layer_decay \(0.9\) needs a network of blocks, and a BiLSTM has none"):
        parameter_groups(NETWORKS["bilstm"](), decay="matrices", layer_decay=0.9)


def test_layer_decay_does_not_change_which_parameters_decay():
    network = NETWORKS["classifier"]()
    groups = parameter_groups(network, decay="matrices", layer_decay=0.5)
    still = {p for group in groups if "weight_decay" in group for p in group["params"]}
    assert {parameter.ndim for parameter in still} == {1}
    assert isinstance(next(iter(still)), torch.nn.Parameter)
