"""The transformer on a CUDA device: as on the CPU, compiled as plain, and 1.1B weights in one step."""

import pytest
import torch
from torch.nn import functional

from src.model.transformer import Transformer
from tests.test_model_checkpointing import DOCUMENTS
from tests.test_model_transformer import SMALL, ListCache, tokens, wide_awake

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
# Heads of 64: the fused kernels do not take 8 features.
SHAPE = {**SMALL, "width": 128, "num_heads": 2}


def build(**options):
    torch.manual_seed(5)
    return wide_awake(Transformer(**{**SHAPE, **options}))


def learn(model, *, documents, bf16=False):
    ids = tokens().to(model.embedding.weight.device)
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=bf16):
        logits = model(ids, documents=None if documents is None else documents.to(ids.device))
    functional.cross_entropy(logits.flatten(0, 1).float(), ids.flatten()).backward()
    return logits.detach().float().cpu(), {name: p.grad.cpu() for name, p in model.named_parameters()}


def assert_near(result, expected, *, share):
    """Logits and gradients differ by at most `share` of their own spread."""
    for name, (ours, theirs) in {
        "logits": (result[0], expected[0]),
        **{name: (result[1][name], gradient) for name, gradient in expected[1].items()},
    }.items():
        assert (ours - theirs).std() <= share * theirs.std(), name


@pytest.mark.parametrize("documents", [None, DOCUMENTS], ids=["one_text", "documents"])
@pytest.mark.parametrize("options", [{}, dict(num_kv_heads=1, qk_norm=True, tie_embeddings=False)], ids=["mha", "mqa"])
def test_logits_and_gradients_are_those_of_the_cpu(options, documents):
    expected = learn(build(**options), documents=documents)
    assert_near(learn(build(**options).cuda(), documents=documents), expected, share=1e-3)
    assert_near(learn(build(**options).cuda(), documents=documents, bf16=True), expected, share=0.05)


@pytest.mark.parametrize("checkpointing", ["none", "blocks", "selective"])
@pytest.mark.parametrize("compile", ["block", "stack"])
@pytest.mark.parametrize("documents", [None, DOCUMENTS], ids=["one_text", "documents"])
def test_compiled_and_recomputed_learn_as_plain(compile, checkpointing, documents):
    torch.compiler.reset()
    expected = learn(build().cuda(), documents=documents)
    model = build(compile=compile, checkpointing=checkpointing).cuda()
    assert_near(learn(model, documents=documents), expected, share=1e-3)
    assert list(model.state_dict()) == list(build().state_dict())


def test_checkpointing_saves_memory():
    peaks = {}
    ids = torch.zeros(4, 512, dtype=torch.int64, device="cuda")
    for checkpointing in ("none", "selective", "blocks"):
        model = build(width=256, num_layers=8, max_length=512, checkpointing=checkpointing).cuda()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        model(ids).sum().backward()
        peaks[checkpointing] = torch.cuda.max_memory_allocated() - before
        del model
    assert peaks["blocks"] < 0.6 * peaks["none"]
    assert peaks["blocks"] < peaks["selective"] < peaks["none"]


def test_a_cached_text_is_the_whole_text():
    model, ids = build(num_kv_heads=1).cuda(), tokens().cuda()
    cache = ListCache(3, num_layers=2)
    cache.lengths = cache.lengths.cuda()
    pieces = [model(piece, cache=cache) for piece in ids.split([9, 1, 1, 6], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids), atol=1e-3, rtol=1e-3)


def test_a_step_of_the_1b_network_has_finite_gradients():
    """In bfloat16, one text of 2,048 tokens: about 7 GB."""
    with torch.device("cuda"):
        sizes = dict(width=2048, num_layers=22, num_heads=16, num_kv_heads=2, feed_forward_width=5632)
        model = Transformer(**sizes, vocab_size=32000, tie_embeddings=False).to(torch.bfloat16)
    ids = torch.randint(0, 32000, (1, 2049), device="cuda")
    logits = model(ids[:, :-1])
    loss = functional.cross_entropy(logits[0].float(), ids[0, 1:])
    loss.backward()
    assert abs(loss.item() - 10.4) < 1.0, "about ln 32000"
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
