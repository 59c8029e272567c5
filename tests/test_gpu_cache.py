"""Caches, generation and the captured decode step on a CUDA device; skipped elsewhere, run with `pytest -m gpu`."""

import itertools
from functools import partial

import pytest
import torch

from src.attention import auto
from src.benchmark import decode
from src.cache.contiguous import ContiguousCache
from src.generation.generator import Generator
from src.generation.graph import GraphedStep
from src.generation.memory import make_cache
from src.generation.row import seeded
from src.generation.sampling import Sampler
from src.model.transformer import Transformer
from tests.test_benchmark_decode import NETWORK
from tests.test_cache_rows import CACHES, CLASSES
from tests.test_generation_generator import CODEC, PROMPTS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
LENGTH = 40


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(2)
    sizes = {"vocab_size": 257, "width": 64, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2}
    network = Transformer(**sizes, feed_forward_width=96, max_length=64, attention=auto.attend).eval()
    with torch.no_grad():
        for parameter in network.blocks.parameters():
            parameter.mul_(8 if parameter.dim() == 2 else 1)
    return network.cuda()


def cache_of(network, name, *, slots):
    settings = {key: value for key, value in CACHES[name].items() if not key.startswith("_")}
    settings |= {"num_pages": 64} if settings.get("num_pages") else {}
    kind = partial(CLASSES[CACHES[name]["_target_"].split(".")[-1]], **settings)
    return make_cache(network, kind, slots=slots, max_length=64)


@pytest.mark.parametrize("name", list(CACHES))
@torch.inference_mode()
def test_any_cut_gives_the_logits_of_the_whole(network, name):
    ids = torch.randint(257, (3, LENGTH), generator=torch.Generator().manual_seed(1)).cuda()
    whole = network(ids)
    cache = cache_of(network, name, slots=3)
    rows = cache.select([cache.add() for _ in range(3)])
    cuts = [0, 7, 8, 9, 20, 33, LENGTH]
    pieces = [network(ids[:, a:b], cache=rows) for a, b in itertools.pairwise(cuts)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-3, atol=1e-3)


def generate(network, cache, *, step=None, slots=3, sampler=None):
    return Generator(
        network,
        codec=CODEC,
        cache=cache,
        max_length=64,
        sampler=sampler or Sampler(temperature=0),
        max_new_tokens=20,
        batch_size=slots,
        step=step,
    ).complete(PROMPTS)


@pytest.mark.parametrize("name", list(CACHES))
def test_greedy_text_is_that_of_no_cache(network, name):
    expected = generate(network, None, slots=1)
    assert generate(network, cache_of(network, name, slots=3)) == expected


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("slots", [1, 3])
def test_greedy_text_through_a_captured_step_is_that_of_no_cache(network, slots, fuse):
    """Rows come and go, so the step is captured several times over one cache."""
    cache = cache_of(network, "static", slots=slots)
    step = GraphedStep(network, fuse=fuse)
    assert generate(network, cache, step=step, slots=slots) == generate(network, None, slots=1)


@pytest.mark.parametrize("fuse", [False, True])
@torch.inference_mode()
def test_a_captured_step_counts_on_both_sides(network, fuse):
    """What the warm-up wrote is overwritten; the host's and the device's lengths stay equal."""
    ids = torch.randint(257, (2, LENGTH), generator=torch.Generator().manual_seed(1)).cuda()
    whole = network(ids)
    cache = make_cache(network, partial(ContiguousCache, static=True), slots=2, max_length=LENGTH)
    rows, step = cache.select([cache.add(), cache.add()]), GraphedStep(network, fuse=fuse)
    found = [step(ids[:, :5], rows).clone()]
    found += [step(ids[:, position : position + 1], rows).clone() for position in range(5, LENGTH)]
    assert rows.length == LENGTH
    assert rows.lengths.tolist() == [LENGTH, LENGTH]
    torch.testing.assert_close(torch.stack(found, dim=1), whole[:, 4:], rtol=1e-3, atol=1e-3)


def test_sampling_does_not_wait_for_the_device():
    """Every kind of filter and the draw itself, with torch told to raise on any synchronisation."""
    logits = torch.randn(4, 1000, device="cuda")
    seen = torch.rand(4, 1000, device="cuda") < 0.1
    generators = [seeded(0, number, logits.device) for number in range(4)]
    sampler = Sampler(temperature=0.9, top_k=50, top_p=0.9, min_p=0.01, repetition_penalty=1.2)
    sampler(logits, seen=seen, generators=generators)
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        tokens = sampler(logits, seen=seen, generators=generators)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert tokens.shape == (4,)


@pytest.mark.parametrize("fuse", [False, True])
def test_the_suite_measures_a_cuda_graph_that_writes_the_same_text(fuse):
    options = {"network": NETWORK, "prompt": 3, "lengths": [8, 20], "batches": [1, 3], "precisions": ["fp32"]}
    rows = decode.compare(**options, rounds=1, every=4, threads=None, device="cuda", fuse=fuse)
    graphs = [row for row in rows if row["cache"] == "CUDA graph"]
    assert [row["same %"] for row in graphs] == [100, 100]
