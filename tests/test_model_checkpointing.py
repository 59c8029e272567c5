"""Neither recomputing activations nor compiling changes what a network learns."""

import pytest
import torch
from torch.nn import functional

from src.attention import naive, sdpa
from src.model.transformer import Transformer
from tests.test_model_transformer import SMALL, ListCache, tokens

DOCUMENTS = (torch.arange(17) // 6).expand(3, -1)


def gradients(model, *, bf16=False):
    torch.manual_seed(3)  # dropout draws the same masks
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(tokens(), documents=DOCUMENTS)
    functional.cross_entropy(logits.flatten(0, 1).float(), tokens().flatten()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def build(**options):
    torch.manual_seed(5)
    return Transformer(**{**SMALL, "num_kv_heads": 2, "dropout": 0.1, **options})


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "autocast"])
@pytest.mark.parametrize("attend", [sdpa.attend, naive.attend], ids=["sdpa", "naive"])
@pytest.mark.parametrize("checkpointing", ["blocks", "selective"])
def test_recomputed_gradients_are_equal_to_the_bit(checkpointing, attend, bf16):
    expected = gradients(build(attention=attend), bf16=bf16)
    result = gradients(build(attention=attend, checkpointing=checkpointing), bf16=bf16)
    for name, gradient in expected.items():
        assert torch.equal(result[name], gradient), name


def kept_bytes(model):
    """Memory that a backward holds on to, each storage once, weights not counted."""
    storages = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def remember(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        logits = model(tokens(rows=4, steps=64))
    return sum(size for size, _ in storages.values()), logits


def test_blocks_keeps_one_input_per_block():
    """(B, T, D) per block, where all activations are some 20 times that."""
    sizes = {}
    for checkpointing in ("none", "blocks"):
        for layers in (2, 4):
            model = build(checkpointing=checkpointing, num_layers=layers, dropout=0.0)
            sizes[checkpointing, layers] = kept_bytes(model)[0]
    per_block = {kind: (sizes[kind, 4] - sizes[kind, 2]) / 2 for kind in ("none", "blocks")}
    one_input = 4 * 64 * 32 * 4
    assert per_block["blocks"] == one_input
    assert per_block["none"] > 12 * one_input


def test_selective_runs_no_product_and_no_attention_twice():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.calls = {"product": 0, "attention": 0, "roll": 0}

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function.name()
            self.calls["product"] += name == "aten::mm"
            self.calls["attention"] += "attention" in name and "backward" not in name
            self.calls["roll"] += name.startswith("aten::roll")
            return function(*args, **(kwargs or {}))

    calls = {}
    for checkpointing in ("none", "selective", "blocks"):
        with Count() as count:
            build(checkpointing=checkpointing, dropout=0.0)(tokens()).float().sum().backward()
        calls[checkpointing] = count.calls
    assert calls["none"]["product"] == calls["selective"]["product"] < calls["blocks"]["product"]
    assert calls["none"]["attention"] == calls["selective"]["attention"] == 2
    assert calls["blocks"]["attention"] == 4
    assert calls["selective"]["roll"] > calls["none"]["roll"], "the rotation is computed again"


# Inductor, when it is imported; and a look of dynamo's at `.grad`, which it hides by a filter that pytest overrules.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated", "ignore:The .grad attribute of a Tensor")
def test_compiled_blocks_have_the_names_and_gradients_of_plain_ones():
    """One graph over all blocks, with checkpointing inside; a cache given afterwards runs the blocks as they are."""
    torch.compiler.reset()
    plain = build(dropout=0.0)
    compiled = build(dropout=0.0, compile="stack", checkpointing="selective")
    expected, result = gradients(plain), gradients(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for name, gradient in expected.items():
        torch.testing.assert_close(
            result[name], gradient, atol=1e-6, rtol=1e-4, msg=lambda text, name=name: name + text
        )
    with torch.no_grad():
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        cache = ListCache(3, num_layers=2)
        pieces = [compiled(piece, cache=cache) for piece in tokens().split([9, 1, 7], dim=1)]
        torch.testing.assert_close(torch.cat(pieces, 1), plain(tokens()), atol=1e-5, rtol=0)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs, "no graph for a forward with a cache"
