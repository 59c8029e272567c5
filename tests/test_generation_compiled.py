"""A compiled decode step writes the text of no cache, through rows that come and leave."""

import pytest
import torch

from src.benchmark.decode_contenders import Cached
from src.cache.paged import PagedCache
from src.generation import compiled
from src.generation.compiled import CompiledStep
from src.generation.memory import make_cache
from src.model.transformer import Transformer
from tests.test_generation_generator import PROMPTS, by_hand, make


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(2)
    sizes = {"vocab_size": 257, "width": 32, "num_layers": 1, "num_heads": 4, "num_kv_heads": 2}
    network = Transformer(**sizes, feed_forward_width=48, max_length=64).eval()
    with torch.no_grad():
        for parameter in network.blocks.parameters():
            parameter.mul_(16 if parameter.dim() == 2 else 1)
    return network


def test_greedy_text_is_that_of_no_cache_and_few_programs_serve_all_steps(network, monkeypatch):
    """Rows of unequal length, then with a gap between them, then a single one."""
    monkeypatch.setitem(compiled.SETTINGS, "max_autotune", False)  # which takes half a minute
    torch._dynamo.reset()
    counts = torch._dynamo.utils.counters["stats"]
    before = counts["unique_graphs"]
    found = make(network, "contiguous", slots=3, step=CompiledStep(network)).complete(PROMPTS[:5])
    assert [completion.tokens for completion in found] == [by_hand(network, prompt) for prompt in PROMPTS[:5]]
    assert 1 <= counts["unique_graphs"] - before <= 6


def test_the_benchmark_writes_with_it_what_the_plain_step_writes(network):
    torch._dynamo.reset()
    prompt = torch.arange(12).view(2, 6)
    texts = [
        Cached(network, kind=kind, batch=2, longest=30, fuse=True).run(prompt, [30])[1]
        for kind in ("contiguous", "compiled")
    ]
    assert torch.equal(*texts)


@torch.inference_mode()
def test_paged_rows_are_refused(network):
    cache = make_cache(network, PagedCache, slots=1, max_length=8)
    rows = cache.select([cache.add()])
    with pytest.raises(ValueError, match="cache=contiguous"):
        CompiledStep(network)(torch.ones(1, 1, dtype=torch.int64), rows)
