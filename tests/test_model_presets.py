"""The transformers of conf/model are the sizes they say, and attention is a choice of theirs alone."""

import pytest
import torch
from hydra.errors import ConfigCompositionException

from src.attention import naive
from src.check.signatures import settings_of
from src.launch.compose import CONFIG_FOLDER, plain
from src.launch.preflight import build_on_meta
from src.model.flops import flops_per_token
from src.model.transformer import Transformer
from src.model.transformer_classifier import TransformerClassifier
from tests.test_model_transformer import SMALL

PRESETS = sorted(path.stem for path in (CONFIG_FOLDER / "model").glob("transformer_*.yaml"))
SIZES = {
    # 2 V D for embedding and head, then per layer 2 D (H + K) E for attention, 3 D F, 2 D for gains, D at the end
    "transformer_1b": 2 * 32000 * 2048 + 22 * (2 * 2048 * (16 + 2) * 128 + 3 * 2048 * 5632 + 2 * 2048) + 2048,
    "transformer_small": 16384 * 512 + 12 * (4 * 512 * 512 + 3 * 512 * 1408 + 2 * 512) + 512,
    "transformer_tiny": 8192 * 256 + 4 * (4 * 256 * 256 + 3 * 256 * 688 + 2 * 256) + 256,
}


def built(compose, *overrides):
    return build_on_meta(plain(compose(*overrides)))


@pytest.mark.parametrize("preset", SIZES)
def test_a_preset_has_its_number_of_parameters(compose, preset):
    network = built(compose, f"model={preset}")
    assert sum(parameter.numel() for parameter in network.parameters()) == SIZES[preset]


def test_the_1b_network_has_1100048384_parameters(compose):
    network = built(compose, "model=transformer_1b")
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_100_048_384


def test_the_classifier_is_the_tiny_network_with_another_head(compose):
    tiny, classifier = built(compose, "model=transformer_tiny"), built(compose, "model=transformer_classifier")
    shapes = {name: weight.shape for name, weight in classifier.state_dict().items()}
    assert shapes.pop("classifier.weight") == (2, 256)
    assert shapes.pop("classifier.bias") == (2,)
    assert shapes == {name: weight.shape for name, weight in tiny.state_dict().items()}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_parameter_of_the_constructor_stands_in_the_file(compose, preset):
    written = plain(compose(f"model={preset}"))["model"]
    kind = TransformerClassifier if preset == "transformer_classifier" else Transformer
    assert set(written) - {"_target_"} == set(settings_of(kind))


def test_attention_is_refused_for_a_network_that_does_not_attend(compose):
    with pytest.raises(ConfigCompositionException, match="Could not override 'attention'"):
        compose("model=bilstm", "attention=naive")


def test_attention_chosen_on_the_command_line_is_the_networks(compose):
    network = built(compose, "model=transformer_tiny", "attention=naive")
    assert network.blocks[0].attention.attend.func.__module__ == "src.attention.naive"


@pytest.mark.parametrize("options", [{}, dict(tie_embeddings=False, num_kv_heads=2, head_width=16)])
def test_operations_per_token_are_those_that_torch_counts(options):
    """torch counts each product of a forward, naive attention in full; with the backward it is three times that."""
    from torch.utils.flop_counter import FlopCounterMode

    network = Transformer(**SMALL, **options, attention=naive.attend)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(2, 32, dtype=torch.int64))
    assert flops_per_token(network, 32, causal=False) == 3 * counter.get_total_flops() / 64
    attention = 6 * 2 * 4 * network.head_width * 32
    assert flops_per_token(network, 32, causal=False) - flops_per_token(network, 32, causal=True) == attention


def test_operations_per_token_of_the_1b_network(compose):
    """6 N + 12 L d T with N = 1.034 billion; at 8,192 tokens the full count is 26 % above the causal one."""
    network = built(compose, "model=transformer_1b")
    matrices = SIZES["transformer_1b"] - 32000 * 2048 - 45 * 2048
    assert flops_per_token(network, 2048, causal=False) == 6 * matrices + 12 * 22 * 2048 * 2048
    ratio = flops_per_token(network, 8192, causal=False) / flops_per_token(network, 8192, causal=True)
    assert round(ratio, 2) == 1.26


def test_a_window_bounds_what_attention_costs():
    network = Transformer(**SMALL, window=8)
    assert flops_per_token(network, 64, causal=False) == flops_per_token(network, 8, causal=False)
