"""Every choice of conf/attention gives naive's numbers, forward and backward, or refuses in a sentence; naive gives
those of a loop over single queries."""

import inspect
import itertools
import math
import re
from pathlib import Path

import pytest
import torch
import yaml
from hydra.utils import get_method
from torch.nn.attention import flex_attention

from src.attention import flex, naive
from src.attention.documents import Documents
from src.errors import UserError

CHOICES = sorted(Path(__file__).parents[1].joinpath("conf", "attention").glob("*.yaml"))
ROWS, WIDTH = 2, 16
# (T, S): training, odd lengths, chunked prefill, decoding.
SIZES = [(16, 16), (33, 33), (7, 20), (1, 20)]
HEADS = [(4, 4), (4, 2), (4, 1)]
DOCUMENTS = torch.tensor([[0] * 5 + [1] * 2 + [2] * 40, [7] * 40 + [3] * 7])  # cut to S
MASKS = [
    {},
    {"causal": False},
    {"window": 1},
    {"window": 5},
    {"window": 5, "causal": False},
    {"window": 100},
    {"documents": DOCUMENTS},
    {"documents": DOCUMENTS, "causal": False},
    {"documents": DOCUMENTS, "window": 3},
    {"documents": (DOCUMENTS == 1).long()},  # the number 0 comes twice in the first row
    {"documents": torch.zeros_like(DOCUMENTS)},
    {"key_lengths": (None, 5)},
    {"key_lengths": (None, 0)},  # a row without any key
    {"key_lengths": (None, 5), "causal": False},
    {"key_lengths": (5, None), "window": 3, "documents": DOCUMENTS},
]


@pytest.fixture(autouse=True)
def _untraced(monkeypatch):
    """FlexAttention's formula without the tracing, which takes a second for each of hundreds of kinds of inputs."""
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(flex, "compiled", lambda device_type: flex_attention.flex_attention)


def load(path):
    """The function that a YAML file names."""
    choice = yaml.safe_load(path.read_text())
    assert choice.keys() == {"_target_", "_partial_"}
    return get_method(choice["_target_"])


def make(queries, keys, heads, *, dtype=torch.float32, gradients=True, seed=0):
    """q, k, v as a projection hands them over: (B, T, H, E) seen as (B, H, T, E)."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(ROWS, queries, heads[0], WIDTH)] + 2 * [(ROWS, keys, heads[1], WIDTH)]
    parts = [torch.randn(shape, generator=generator).to(dtype).transpose(1, 2) for shape in shapes]
    return [part.requires_grad_(gradients) for part in parts]


def cut(mask, keys):
    """The mask's tensors for this many keys."""
    mask = dict(mask)
    if "documents" in mask:
        mask["documents"] = mask["documents"][:, :keys]
    if "key_lengths" in mask:
        mask["key_lengths"] = torch.tensor([keys if length is None else length for length in mask["key_lengths"]])
    return mask


def name_of(mask):
    return "-".join(key if torch.is_tensor(value) else f"{key}={value}" for key, value in mask.items()) or "causal"


def can_run(attend, parts, **mask):
    """Whether it computes this here; what it refuses, it refuses in a sentence with the reason and the way out."""
    try:
        attend(*parts, **mask)
    except UserError as error:
        refusal = str(error)
    else:
        return True
    assert re.fullmatch(r"attention=\w+ cannot run here: .+; use attention=sdpa\.", refusal)
    return False


def one_query_at_a_time(q, k, v, *, causal=True, window=None, documents=None, key_lengths=None):
    """The law, read literally and in float64: for each query the list of its keys."""
    (rows, heads, queries, width), keys = q.shape, k.shape[2]
    out = torch.zeros(q.shape, dtype=torch.float64)
    for row, query, head in itertools.product(range(rows), range(queries), range(heads)):
        end = keys if key_lengths is None else int(key_lengths[row])
        place = end - queries + query
        seen = []
        for key in range(end if place >= 0 else 0):
            hidden = (causal and key > place) or (window and not place - window < key <= place)
            if not hidden and (documents is None or documents[row, key] == documents[row, place]):
                seen.append(key)
        if seen:
            group = head * k.shape[1] // heads
            scores = k[row, group, seen].double() @ q[row, head, query].double() / math.sqrt(width)
            out[row, head, query] = scores.softmax(0) @ v[row, group, seen].double()
    return out


@pytest.mark.parametrize("mask", MASKS, ids=name_of)
def test_naive_is_the_law_read_literally(mask):
    for queries, keys in [(9, 9), (4, 9), (1, 9)]:
        parts = make(queries, keys, (4, 2), gradients=False)
        torch.testing.assert_close(
            naive.attend(*parts, **cut(mask, keys)).double(),
            one_query_at_a_time(*parts, **cut(mask, keys)),
            rtol=1e-5,
            atol=1e-6,
        )


@pytest.mark.parametrize("path", CHOICES, ids=lambda path: path.stem)
def test_every_choice_takes_the_same_arguments(path):
    parameters = inspect.signature(load(path)).parameters
    assert list(parameters) == list(inspect.signature(naive.attend).parameters)
    assert [parameter.default for parameter in parameters.values()] == [
        parameter.default for parameter in inspect.signature(naive.attend).parameters.values()
    ]


@pytest.mark.parametrize("mask", MASKS, ids=name_of)
@pytest.mark.parametrize("path", CHOICES, ids=lambda path: path.stem)
def test_every_choice_gives_the_numbers_and_gradients_of_naive(path, mask):
    attend = load(path)
    for (queries, keys), heads in itertools.product(SIZES, HEADS):
        parts = make(queries, keys, heads)
        where = cut(mask, keys)
        upstream = torch.randn(ROWS, heads[0], queries, WIDTH, generator=torch.Generator().manual_seed(1))
        expected = naive.attend(*parts, **where)
        assert expected.isfinite().all()
        if can_run(attend, parts, **where):
            found = attend(*parts, **where)
            close(found, expected, 2e-6)
            for ours, truth in zip(
                gradients(found, parts, upstream), gradients(expected, parts, upstream), strict=True
            ):
                close(ours, truth, 1e-5)
        else:  # perhaps only the gradients cannot be had here
            forward_parts = make(queries, keys, heads, gradients=False)
            if can_run(attend, forward_parts, **where):
                close(attend(*forward_parts, **where), expected, 2e-6)


@pytest.mark.parametrize("mask", MASKS, ids=name_of)
@pytest.mark.parametrize("path", CHOICES, ids=lambda path: path.stem)
def test_in_bfloat16_every_choice_is_as_near_to_float32_as_its_numbers_allow(path, mask):
    """bfloat16 has 8 bits: values around 1 are off by up to 2^-8, sums of a few such by little more."""
    attend = load(path)
    for queries, keys in [(33, 33), (7, 20), (1, 20)]:
        parts = make(queries, keys, (4, 2), dtype=torch.bfloat16)
        exact = [part.detach().float().requires_grad_() for part in parts]
        where = cut(mask, keys)
        if not can_run(attend, parts, **where):
            continue
        found, expected = attend(*parts, **where), naive.attend(*exact, **where)
        assert found.dtype == torch.bfloat16
        close(found.float(), expected, 0.03)
        upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
        for ours, truth in zip(
            gradients(found, parts, upstream), gradients(expected, exact, upstream.float()), strict=True
        ):
            close(ours.float(), truth, 0.03 * max(1.0, truth.abs().max().item()))


@pytest.mark.parametrize("path", CHOICES, ids=lambda path: path.stem)
def test_documents_may_be_a_tensor_or_an_object_that_layers_share(path):
    attend = load(path)
    for mask in ({}, {"window": 3}, {"causal": False}):
        parts = make(33, 33, (4, 2), gradients=False)
        numbers = DOCUMENTS[:, :33]
        if can_run(attend, parts, documents=numbers, **mask):
            shared = Documents(numbers)
            expected = naive.attend(*parts, documents=numbers, **mask)
            for _ in range(2):
                close(attend(*parts, documents=shared, **mask), expected, 2e-6)


@pytest.mark.parametrize("path", CHOICES, ids=lambda path: path.stem)
def test_what_cannot_be_attended_is_named(path):
    attend = load(path)
    parts = make(4, 4, (4, 3), gradients=False)
    with pytest.raises(UserError, match=r"num_heads \(4\) must be a multiple of num_kv_heads \(3\)"):
        attend(*parts)
    q, k, v = make(4, 4, (4, 4), gradients=False)
    with pytest.raises(UserError, match=r"window \(0\) must be 1 or more"):
        attend(q, k, v, window=0)
    with pytest.raises(ValueError, match="the queries are the last of the keys"):
        attend(q, k[:, :, :3], v[:, :, :3])
    with pytest.raises(ValueError, match=r"must be \(B, H, T, E\)"):
        attend(q, k, v[:, :, :3])


def test_dropout_keeps_the_mean_and_drops_the_share():
    """With v = 1 each output is the sum of the kept weights over 0.75: 1 on average, and 0 where all are dropped."""
    for path in CHOICES:
        attend = load(path)
        q, k, v = make(64, 64, (4, 4), gradients=False)
        if can_run(attend, (q, k, v), dropout=0.25):
            torch.manual_seed(0)
            out = attend(q, k, torch.ones_like(v), dropout=0.25)[..., 0]
            assert out.mean() == pytest.approx(1, abs=0.05)
            first = out[:, :, 0]  # sees one key: dropped or scaled by 1 / 0.75
            assert all(value in (0.0, pytest.approx(1 / 0.75)) for value in first.flatten().tolist())
            assert out.std() > 0.05


def gradients(out, parts, upstream):
    return torch.autograd.grad(out, parts, upstream)


def close(found, expected, tolerance):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
