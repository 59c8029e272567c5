"""Cutting a sequence any way through any cache gives the logits of the whole sequence."""

import random
from itertools import pairwise

import pytest
import torch

from src.attention import naive
from src.cache.contiguous import ContiguousCache
from src.generation.memory import make_cache
from src.model.transformer import Transformer
from tests.test_cache_rows import CACHES, CLASSES

LENGTH = 40


@pytest.fixture(scope="module", params=[4, 2, 1], ids=["MHA", "GQA", "MQA"])
def network(request):
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "width": 32, "num_layers": 2, "feed_forward_width": 48, "max_length": 48}
    return Transformer(**sizes, num_heads=4, num_kv_heads=request.param, attention=naive.attend).eval()


def cache_of(network, name, *, slots):
    settings = {key: value for key, value in CACHES[name].items() if not key.startswith("_")}
    kind = CLASSES[CACHES[name]["_target_"].split(".")[-1]]
    settings |= {"num_pages": 48} if settings.get("num_pages") else {}
    return make_cache(network, lambda **given: kind(**given, **settings), slots=slots, max_length=48)


@pytest.mark.parametrize("name", list(CACHES))
@torch.inference_mode()
def test_any_cut_gives_the_logits_of_the_whole(network, name):
    """Three sequences side by side, cut in the same random places."""
    ids = torch.randint(50, (3, LENGTH), generator=torch.Generator().manual_seed(1))
    whole = network(ids)
    draw = random.Random(2)
    cuts = [0, *sorted(draw.sample(range(1, LENGTH), 6)), LENGTH]
    cache = cache_of(network, name, slots=3)
    rows = cache.select([cache.add() for _ in range(3)])
    pieces = [network(ids[:, a:b], cache=rows) for a, b in pairwise(cuts)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(CACHES))
@torch.inference_mode()
def test_rows_at_different_places_have_the_logits_that_each_has_alone(network, name):
    """Prefilled one by one to 3, 11 and 20 tokens, then stepped together by 1 and by 5, without and with a gap."""
    ids = torch.randint(50, (3, LENGTH), generator=torch.Generator().manual_seed(3))
    whole = network(ids)
    cache = cache_of(network, name, slots=3)
    numbers = [cache.add() for _ in range(3)]
    stored = [3, 11, 20]
    for number, end in zip(numbers, stored, strict=True):
        network(ids[number : number + 1, :end], cache=cache.select([number]))
    for chosen, steps in (([0, 1, 2], 1), ([2, 0], 5), ([0, 1, 2], 5)):
        fresh = torch.stack([ids[row, stored[row] : stored[row] + steps] for row in chosen])
        found = network(fresh, cache=cache.select(chosen))
        expected = torch.stack([whole[row, stored[row] : stored[row] + steps] for row in chosen])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        for row in chosen:
            stored[row] += steps


@torch.inference_mode()
def test_a_step_over_a_static_cache_is_compiled_once():
    """One graph serves every length: the second to the last step run the code of the first."""
    torch.manual_seed(0)
    network = Transformer(vocab_size=50, width=16, num_layers=2, num_heads=2, feed_forward_width=24, max_length=16)
    network = network.eval()
    ids = torch.randint(50, (2, 12), generator=torch.Generator().manual_seed(4))
    cache = make_cache(network, ContiguousCache, slots=2, max_length=16)
    static = make_cache(network, lambda **given: ContiguousCache(**given, static=True), slots=2, max_length=16)
    expected, rows = (kind.select([kind.add(), kind.add()]) for kind in (cache, static))
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    step = torch.compile(network, backend=count, fullgraph=True, dynamic=False)
    for position in range(12):
        one = ids[:, position : position + 1]
        found = step(one, cache=rows, last_only=True)
        rows.count(1)
        torch.testing.assert_close(found, network(one, cache=expected, last_only=True), rtol=1e-4, atol=1e-5)
    assert len(graphs) == 1
    assert rows.length == 12
    assert rows.lengths.tolist() == [12, 12]


def test_a_forward_with_gradients_is_refused(network):
    cache = make_cache(network, ContiguousCache, slots=1, max_length=48)
    with pytest.raises(ValueError, match="inference_mode"):
        network(torch.ones(1, 3, dtype=torch.int64), cache=cache.select([cache.add()]))
