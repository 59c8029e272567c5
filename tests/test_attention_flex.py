"""FlexAttention: its rule against the mask of naive, its kernel as torch runs it here, its masks built once."""

import pytest
import torch

from src.attention import flex, naive
from src.attention.documents import Documents
from src.attention.visible import visible_keys
from src.errors import UserError
from tests.test_attention_equality import DOCUMENTS, MASKS, close, cut, make, name_of


@pytest.fixture(autouse=True)
def _fresh_compiler():
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("mask", MASKS, ids=name_of)
def test_the_rule_says_of_every_pair_what_the_mask_says(mask):
    for queries, keys in [(9, 9), (4, 9), (1, 9)]:
        settings = {"causal": True, "window": None, "documents": None, "key_lengths": None} | cut(mask, keys)
        numbers = settings.pop("documents")
        rule = flex.make_rule(queries, keys, numbers=numbers, **settings)
        pairs = torch.meshgrid(
            torch.arange(2), torch.zeros(1, dtype=torch.int64), torch.arange(queries), torch.arange(keys), indexing="ij"
        )
        q, k, _ = make(queries, keys, (1, 1))
        seen = visible_keys(q, k, documents=Documents.of(numbers), **settings)
        expected = torch.ones(1, 1, queries, keys, dtype=torch.bool) if seen is None else seen
        assert torch.equal(rule(*pairs), expected.expand(2, 1, -1, -1))


@pytest.mark.parametrize("mask", [{"documents": DOCUMENTS}, {"window": 5}], ids=name_of)
def test_the_kernel_of_this_machine_gives_the_numbers_of_naive(mask):
    """Two lengths, so that torch also meets a length that it has not traced."""
    for steps in (16, 33):
        parts, where = make(steps, steps, (4, 2), gradients=False), cut(mask, steps)
        close(flex.attend(*parts, **where), naive.attend(*parts, **where), 2e-6)


# Of torch's own, from tracing how the rule reads a tensor.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated.*:DeprecationWarning")
@pytest.mark.parametrize("mask", [{}, {"documents": DOCUMENTS[:, :33]}, {"window": 5}], ids=name_of)
def test_a_compiled_network_takes_mask_and_kernel_into_its_graph(mask):
    compiled = torch.compile(flex.attend, backend="eager", fullgraph=True)
    parts = make(33, 33, (4, 2), gradients=False)
    close(compiled(*parts, **mask), naive.attend(*parts, **mask), 2e-6)


def test_layers_share_the_mask_of_their_documents(monkeypatch):
    built = []
    build = flex.build_mask
    monkeypatch.setattr(flex, "build_mask", lambda *sizes, **rules: built.append(rules) or build(*sizes, **rules))
    monkeypatch.setattr(flex, "compiled", lambda device_type: lambda q, k, v, **_: q)
    parts, documents = make(16, 16, (4, 2), gradients=False), Documents(DOCUMENTS[:, :16])
    for _ in range(3):
        flex.attend(*parts, documents=documents)
    assert len(built) == 1
    flex.attend(*parts, documents=documents, window=3)
    assert len(built) == 2
    flex.attend(*parts, documents=DOCUMENTS[:, :16])
    assert len(built) == 3


def test_a_mask_without_documents_is_remembered_and_left_out_where_all_is_seen():
    device = torch.device("cpu")
    mask = flex.repeated_mask(16, 16, causal=True, window=None, device=device)
    assert flex.repeated_mask(16, 16, causal=True, window=None, device=device) is mask
    assert flex.repeated_mask(16, 16, causal=True, window=3, device=device) is not mask
    assert flex.repeated_mask(16, 16, causal=False, window=None, device=device) is None


def test_what_flex_cannot_do_is_refused_with_the_way_out():
    sentence = "attention=flex cannot run here: on a CPU torch computes its forward only, no gradients; "
    with pytest.raises(UserError) as refusal:
        flex.attend(*make(4, 4, (2, 2)))
    assert str(refusal.value) == sentence + "use attention=sdpa."
    with pytest.raises(UserError, match=r"it has no dropout, and attention_dropout is 0\.1; use attention=sdpa\."):
        flex.attend(*make(4, 4, (2, 2), gradients=False), dropout=0.1)
