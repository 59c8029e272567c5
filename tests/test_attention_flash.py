"""The wrappers of flash-attn 2 and 4 against a stand-in that computes what the package's documentation says of it."""

import importlib.machinery
import re
import sys
import types

import pytest
import torch

from src.attention import flash, flash2, flash4, naive
from src.attention.documents import Documents
from src.errors import UserError
from tests.test_attention_equality import DOCUMENTS, HEADS, SIZES, close, cut, gradients, make, name_of

MASKS = [
    {},
    {"causal": False},
    {"window": 1},
    {"window": 5},
    {"window": 5, "causal": False},
    {"documents": DOCUMENTS},
    {"documents": DOCUMENTS, "causal": False},
    {"documents": DOCUMENTS, "window": 3},
    {"key_lengths": (None, 5)},
    {"key_lengths": (None, 0)},
    {"key_lengths": (5, None), "window": 3},
]
BUILDS = {2: flash2.attend, 4: flash4.attend}


def visible(steps, keys, *, causal, window_size, everything):
    """By the package's documentation query i sees keys from i + S - T - left to i + S - T + right; with causal none
    behind i + S - T."""
    left, right = (keys if side == everything else side for side in window_size)
    if causal:
        right = 0
    place, key = torch.arange(steps)[:, None] + keys - steps, torch.arange(keys)
    return (key >= place - left) & (key <= place + right)


def heads_first(q, k, v):
    """One sequence (T, H, E) as float32 (H, T, E), with a key-value head for every query head."""
    groups = q.shape[1] // k.shape[1]
    return [part.transpose(0, 1).float() for part in (q, *(part.repeat_interleave(groups, dim=1) for part in (k, v)))]


def forward(q, k, v, **rule):
    """One sequence, q (T, H, E): (out, lse) with lse (H, T)."""
    seen = visible(len(q), len(k), **rule)
    queries, keys, values = heads_first(q, k, v)
    scores = (queries @ keys.mT / q.shape[2] ** 0.5).masked_fill(~seen, -torch.inf)
    weights = scores.softmax(-1).nan_to_num(0.0)
    return (weights @ values).transpose(0, 1).to(q.dtype), scores.logsumexp(-1)


def backward(q, k, v, out, dout, lse, **rule):
    """Gradients of one sequence from what the forward kept (Dao et al. 2022, arXiv:2205.14135, appendix B.2)."""
    queries, keys, values = heads_first(q, k, v)
    out, dout = (part.transpose(0, 1).float() for part in (out, dout))
    weights = (queries @ keys.mT / q.shape[2] ** 0.5 - lse[..., None]).exp() * visible(len(q), len(k), **rule)
    d_scores = weights * (dout @ values.mT - (dout * out).sum(-1, keepdim=True)) / q.shape[2] ** 0.5
    by_head = d_scores @ keys, d_scores.mT @ queries, weights.mT @ dout
    summed = [part.unflatten(0, (like.shape[1], -1)).sum(1) for part, like in zip(by_head, (q, k, v), strict=True)]
    return [part.transpose(0, 1).to(q.dtype) for part in summed]


def rows(function, *tensors, lengths=None, **rule):
    """`function` for each row of a batch, q, k, v and others (B, T, H, E), each row with its own number of keys."""
    found = []
    for row, (q, k, v, *others) in enumerate(zip(*tensors, strict=True)):
        end = len(k) if lengths is None else int(lengths[row])
        found.append(function(q, k[:end], v[:end], *others, **rule))
    return [torch.stack(parts) for parts in zip(*found, strict=True)]


def packed(function, q, k, v, *others, boundaries, longest, **rule):
    """`function` for each sequence of several end to end, (N, H, E), and the log-sum (H, N)."""
    assert boundaries.dtype == torch.int32
    assert boundaries[0] == 0
    assert boundaries[-1] == len(q)
    found = []
    for start, end in zip(boundaries.tolist()[:-1], boundaries.tolist()[1:], strict=True):
        assert end - start <= longest
        if start < end:
            pieces = [part[:, start:end] if part.dim() == 2 else part[start:end] for part in (q, k, v, *others)]
            found.append(function(*pieces, **rule))
    return [torch.cat(parts, dim=1 if parts[0].dim() == 2 else 0) for parts in zip(*found, strict=True)]


def stand_in_2():
    """The functions of flash_attn 2.8 that are used, with its own names, order and defaults."""

    def flash_attn_func(
        q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None
    ):
        assert dropout_p == 0
        return rows(forward, q, k, v, causal=causal, window_size=window_size, everything=-1)[0]

    def flash_attn_varlen_func(
        q,
        k,
        v,
        cu_seqlens_q,
        cu_seqlens_k,
        max_seqlen_q,
        max_seqlen_k,
        dropout_p=0.0,
        softmax_scale=None,
        causal=False,
        window_size=(-1, -1),
    ):
        assert isinstance(max_seqlen_q, int)
        assert cu_seqlens_k is cu_seqlens_q
        rule = dict(causal=causal, window_size=window_size, everything=-1)
        return packed(forward, q, k, v, boundaries=cu_seqlens_q, longest=max_seqlen_q, **rule)[0]

    def flash_attn_with_kvcache(
        q,
        k_cache,
        v_cache,
        k=None,
        v=None,
        rotary_cos=None,
        rotary_sin=None,
        cache_seqlens=None,
        cache_batch_idx=None,
        cache_leftpad=None,
        block_table=None,
        softmax_scale=None,
        causal=False,
        window_size=(-1, -1),
    ):
        assert cache_seqlens.dtype == torch.int32
        rule = dict(causal=causal, window_size=window_size, everything=-1)
        return rows(forward, q, k_cache, v_cache, lengths=cache_seqlens, **rule)[0]

    package = types.ModuleType("flash_attn")
    package.flash_attn_func = flash_attn_func
    package.flash_attn_varlen_func = flash_attn_varlen_func
    package.flash_attn_with_kvcache = flash_attn_with_kvcache
    return {"flash_attn": package}


def stand_in_4(extra_values):
    """The functions of flash_attn.cute that are used; releases differ in how many values they return."""
    more = (None,) * extra_values

    def flash_attn_func(q, k, v, *, causal=False, window_size=(None, None), return_lse=False):
        assert return_lse
        out, lse = rows(forward, q, k, v, causal=causal, window_size=window_size, everything=None)
        return out, lse, *more

    def flash_attn_varlen_func(
        q,
        k,
        v,
        *,
        cu_seqlens_q=None,
        cu_seqlens_k=None,
        max_seqlen_q=None,
        max_seqlen_k=None,
        seqused_k=None,
        causal=False,
        window_size=(None, None),
        return_lse=False,
    ):
        assert return_lse
        rule = dict(causal=causal, window_size=window_size, everything=None)
        if seqused_k is not None:
            assert seqused_k.dtype == torch.int32
            return *rows(forward, q, k, v, lengths=seqused_k, **rule), *more
        return *packed(forward, q, k, v, boundaries=cu_seqlens_q, longest=max_seqlen_q, **rule), *more

    def _flash_attn_bwd(
        *,
        q,
        k,
        v,
        out,
        dout,
        lse,
        causal=False,
        window_size_left=None,
        window_size_right=None,
        cu_seqlens_q=None,
        cu_seqlens_k=None,
        max_seqlen_q=None,
        max_seqlen_k=None,
    ):
        assert dout.is_contiguous()
        tensors, rule = (q, k, v, out, dout, lse), dict(causal=causal, everything=None)
        rule["window_size"] = (window_size_left, window_size_right)
        if cu_seqlens_q is None:
            return *rows(backward, *tensors, **rule), *more
        return *packed(backward, *tensors, boundaries=cu_seqlens_q, longest=max_seqlen_q, **rule), *more

    package, cute = types.ModuleType("flash_attn"), types.ModuleType("flash_attn.cute")
    interface = types.ModuleType("flash_attn.cute.interface")
    cute.flash_attn_func, cute.flash_attn_varlen_func = flash_attn_func, flash_attn_varlen_func
    interface._flash_attn_bwd = _flash_attn_bwd
    package.cute, cute.interface = cute, interface
    return {"flash_attn": package, "flash_attn.cute": cute, "flash_attn.cute.interface": interface}


@pytest.fixture(params=["2", "4", "4 with more values"])
def build(request, monkeypatch):
    """The wrapper of a version, with a stand-in where it looks for the package."""
    version = int(request.param[0])
    modules = stand_in_2() if version == 2 else stand_in_4(extra_values=3 if "more" in request.param else 0)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    settings = {"causal": True, "window": None, "documents": None, "key_lengths": None}
    settings |= {"dropout": 0.0} if version == 2 else {}

    def attend(*parts, **mask):
        mask["documents"] = Documents.of(mask.get("documents"))
        return BUILDS[version](*parts, **(settings | mask))

    return attend


@pytest.mark.parametrize("mask", MASKS, ids=name_of)
def test_the_package_is_called_so_that_it_computes_what_naive_does(build, mask):
    for queries, keys in SIZES:
        if "documents" in mask and queries != keys:
            continue
        for heads in HEADS:
            parts = make(queries, keys, heads, gradients="key_lengths" not in mask)
            where = cut(mask, keys)
            found, expected = build(*parts, **where), naive.attend(*parts, **where)
            close(found, expected, 2e-6)
            if "key_lengths" not in mask:
                upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
                truth = gradients(expected, parts, upstream)
                for ours, theirs in zip(gradients(found, parts, upstream), truth, strict=True):
                    close(ours, theirs, 1e-5)


@pytest.mark.parametrize("mask", [{}, {"window": 5}, {"documents": DOCUMENTS}], ids=name_of)
def test_version_4_stays_whole_under_the_compiler(monkeypatch, mask):
    """The package itself would break the graph; as an operator with shapes and gradients of its own it does not."""
    for name, module in stand_in_4(extra_values=0).items():
        monkeypatch.setitem(sys.modules, name, module)
    parts = make(33, 33, (4, 2))
    boundaries = Documents(DOCUMENTS[:, :33]).boundaries() if "documents" in mask else None

    def attend(q, k, v):
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        if boundaries is not None:
            q, k, v = (part.flatten(0, 1) for part in (q, k, v))
        return flash4.forward(q * 1.0, k, v, True, mask.get("window"), boundaries, None, 33)[0].flatten()

    compiled = torch.compile(attend, backend="aot_eager", fullgraph=True)
    upstream = torch.randn(2 * 33 * 4 * 16, generator=torch.Generator().manual_seed(1))
    close(compiled(*parts), attend(*parts), 1e-6)
    found, expected = (gradients(function(*parts), parts, upstream) for function in (compiled, attend))
    for ours, truth in zip(found, expected, strict=True):
        close(ours, truth, 1e-6)
    torch.compiler.reset()


def test_the_operators_of_version_4_keep_torchs_rules(monkeypatch):
    """Shapes of the stand-ins for compilation, aliasing, gradients: what torch itself checks of an operator."""
    for name, module in stand_in_4(extra_values=0).items():
        monkeypatch.setitem(sys.modules, name, module)
    q, k, v = (part.transpose(1, 2).detach().contiguous().requires_grad_() for part in make(9, 9, (4, 2)))
    torch.library.opcheck(flash4.forward, (q, k, v, True, 3, None, None))
    boundaries = Documents(torch.tensor([[0] * 4 + [1] * 5, [0] * 9])).boundaries()
    flat = [part.detach().flatten(0, 1).requires_grad_() for part in (q, k, v)]
    torch.library.opcheck(flash4.forward, (*flat, True, None, boundaries, None, 9))


CUDA, CPU = torch.device("cuda"), torch.device("cpu")
HALF = torch.bfloat16


@pytest.mark.parametrize(
    ("version", "device", "dtype", "changes", "reason"),
    [
        (None, CUDA, HALF, {}, "neither flash-attn nor flash-attn-4 is installed"),
        (2, CPU, HALF, {}, "it needs a CUDA device, and this one is cpu"),
        (2, CUDA, torch.float32, {}, r"it takes bfloat16 and float16, and this is float32 \(precision=bf16 helps\)"),
        (2, CUDA, HALF, {"head_width": 20}, "multiple of 8 and at most 256 wide, and these are 20"),
        (2, CUDA, HALF, {"head_width": 264}, "multiple of 8 and at most 256 wide, and these are 264"),
        (2, CUDA, HALF, {"capability": 7}, "flash-attn 2 needs compute capability 8, and this device has 7"),
        (4, CUDA, HALF, {"capability": 8}, "flash-attn 4 needs compute capability 9, and this device has 8"),
        (4, CUDA, HALF, {"capability": 10, "head_width": 256}, "at most 128 wide, and these are 256"),
        (4, CUDA, HALF, {"dropout": 0.1}, "flash-attn 4 has no dropout, and attention_dropout is 0.1"),
        (2, CUDA, HALF, {"dropout": 0.1}, None),
        (4, CUDA, HALF, {}, None),
    ],
)
def test_the_reason_against_flash_is_named(monkeypatch, version, device, dtype, changes, reason):
    settings = {"head_width": 64, "dropout": 0.0, "capability": 9} | changes
    major = settings.pop("capability")
    monkeypatch.setattr(flash, "capability", lambda device: major)
    found = flash.obstacle(version, device, dtype, **settings)
    assert (found is None) if reason is None else re.search(reason, found)


def test_flash_refuses_on_this_machine_in_one_sentence(monkeypatch):
    monkeypatch.setattr(flash, "INSTALLED", ())
    parts = make(4, 4, (4, 4), gradients=False)
    with pytest.raises(UserError) as refusal:
        flash.attend(*parts)
    sentence = "attention=flash cannot run here: neither flash-attn nor flash-attn-4 is installed; use attention=sdpa."
    assert str(refusal.value) == sentence
    monkeypatch.setattr(flash, "INSTALLED", (2,))
    with pytest.raises(UserError, match="it needs a CUDA device, and this one is cpu"):
        flash.attend(*parts)


@pytest.mark.parametrize(
    ("sizes", "mask", "reason"),
    [
        ((4, 9), {"documents": DOCUMENTS}, "documents only where every key has its query"),
        ((9, 9), {"documents": DOCUMENTS, "key_lengths": (9, 5)}, "documents only where every key has its query"),
        ((9, 9), {"documents": DOCUMENTS % 2}, "contiguous documents, and a number returns later in its row"),
        ((4, 9), {"key_lengths": (9, 5)}, "no gradients with key_lengths"),
    ],
)
def test_masks_that_the_package_does_not_have_are_refused(monkeypatch, sizes, mask, reason):
    monkeypatch.setattr(flash, "INSTALLED", (2,))
    monkeypatch.setattr(flash, "obstacle", lambda *_, **__: None)
    with pytest.raises(UserError, match=reason):
        flash.attend(*make(*sizes, (4, 4)), **cut(mask, sizes[1]))


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], ()),
        (["flash_attn_interface.py"], (2,)),
        (["cute/interface.py"], ()),  # without its compiler
        (["cute/interface.py", "../cutlass/__init__.py"], (4,)),
        (["flash_attn_interface.py", "cute/interface.py"], (2,)),
        (["flash_attn_interface.py", "cute/interface.py", "../cutlass/__init__.py"], (2, 4)),
    ],
)
def test_the_package_is_found_without_importing_it(tmp_path, monkeypatch, files, found):
    for file in files:
        path = tmp_path / "flash_attn" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.resolve().parent.mkdir(parents=True, exist_ok=True)
        path.resolve().write_text("raise RuntimeError('imported')")
    # Nothing but the folder is searched, whatever this machine has installed.
    finder = lambda name: importlib.machinery.PathFinder.find_spec(name, [str(tmp_path)])  # noqa: E731
    monkeypatch.setattr(flash.importlib.util, "find_spec", finder)
    assert flash.find_installed() == found


@pytest.mark.parametrize(
    ("installed", "major", "version"),
    [((), 9, None), ((2,), 9, 2), ((4,), 9, 4), ((2, 4), 9, 4), ((2, 4), 8, 2), ((4,), 8, 4)],
)
def test_version_4_is_taken_where_it_trains(monkeypatch, installed, major, version):
    monkeypatch.setattr(flash, "INSTALLED", installed)
    monkeypatch.setattr(flash, "capability", lambda device: major)
    assert flash.choose_version(CUDA) == version
