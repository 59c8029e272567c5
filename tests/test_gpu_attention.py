"""Attention on a CUDA device: every choice against naive, the kernels that are meant, memory, torch.compile."""

import itertools

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from src.attention import auto, flash, flex, naive, sdpa
from src.attention.documents import Documents
from src.benchmark import attention
from tests.test_attention_equality import DOCUMENTS, MASKS, can_run, close, cut, gradients, name_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
    # Of torch's own, from tracing how FlexAttention's rule reads a tensor.
    pytest.mark.filterwarnings("ignore:.*should not be instantiated.*:DeprecationWarning"),
]

# 320 % 128 == 64: where cuDNN gives NaN in the gradient of q with a mask.
SIZES = [(320, 320), (257, 257), (64, 200), (1, 200)]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    yield
    torch.compiler.reset()


def make(queries, keys, heads, *, dtype, width=64, rows=2, gradients=True):
    generator = torch.Generator("cuda").manual_seed(0)
    shapes = [(rows, queries, heads[0], width)] + 2 * [(rows, keys, heads[1], width)]
    parts = [torch.randn(shape, generator=generator, device="cuda").to(dtype).transpose(1, 2) for shape in shapes]
    return [part.requires_grad_(gradients) for part in parts]


def stretched(mask, keys):
    """A mask of test_attention_equality for these lengths: documents ten times as long, on the device."""
    mask = dict(mask)
    if "documents" in mask:
        mask["documents"] = mask["documents"].repeat_interleave(10, dim=1)
    mask = cut(mask, keys)
    return {name: value.cuda() if torch.is_tensor(value) else value for name, value in mask.items()}


def compare(attend, parts, where, *, tolerance):
    """Outputs and gradients against naive in float32; a choice that refuses has said why."""
    if "key_lengths" in where:
        parts = [part.detach() for part in parts]  # decoding: flash-attn has no gradients there
    if not can_run(attend, parts, **where):
        return False
    exact = [part.detach().float().requires_grad_(part.requires_grad) for part in parts]
    found, expected = attend(*parts, **where), naive.attend(*exact, **where)
    assert found.dtype == parts[0].dtype
    close(found.float(), expected, tolerance)
    if "key_lengths" not in where:
        upstream = torch.randn(found.shape, device="cuda").to(found.dtype)
        truths = gradients(expected, exact, upstream.float())
        for ours, truth in zip(gradients(found, parts, upstream), truths, strict=True):
            close(ours.float(), truth, tolerance * max(1.0, truth.abs().max().item()))
    return True


@pytest.mark.parametrize("mask", MASKS, ids=name_of)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_sdpa_gives_the_numbers_and_gradients_of_naive(dtype, mask):
    tolerance = 0.03 if dtype == torch.bfloat16 else 1e-4
    for sizes, heads in itertools.product(SIZES, [(4, 4), (4, 1)]):
        assert compare(sdpa.attend, make(*sizes, heads, dtype=dtype), stretched(mask, sizes[1]), tolerance=tolerance)


@pytest.mark.parametrize("mask", MASKS, ids=name_of)
@pytest.mark.parametrize("attend", [auto.attend, flex.attend], ids=["auto", "flex"])
def test_flex_and_auto_give_the_numbers_and_gradients_of_naive(attend, mask):
    """One shape each: FlexAttention compiles for seconds per kind of shape and mask."""
    parts = make(320, 320, (4, 2), dtype=torch.bfloat16)
    assert compare(attend, parts, stretched(mask, 320), tolerance=0.03)


def test_flex_in_float32_gives_the_numbers_and_gradients_of_naive():
    parts = make(320, 320, (4, 2), dtype=torch.float32)
    assert compare(flex.attend, parts, stretched({"documents": DOCUMENTS}, 320), tolerance=5e-3)


def kernels(call):
    """Names of the operators that torch ran."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        call()
        torch.cuda.synchronize()
    return {event.key for event in profiler.key_averages()}


def test_sdpa_takes_the_first_kernel_of_its_order_that_can():
    parts = make(256, 256, (4, 2), dtype=torch.bfloat16)
    assert "aten::_scaled_dot_product_attention_math" not in kernels(lambda: sdpa.attend(*parts))
    # With a mask flash cannot, and cuDNN is left out.
    seen = kernels(lambda: sdpa.attend(*parts, window=8))
    assert "aten::_scaled_dot_product_efficient_attention" in seen
    seen = kernels(lambda: sdpa.attend(*make(256, 256, (4, 2), dtype=torch.float32)))
    assert "aten::_scaled_dot_product_efficient_attention" in seen
    if torch.cuda.get_device_capability() >= (9, 0):
        assert "aten::_scaled_dot_product_cudnn_attention" in kernels(
            lambda: sdpa.attend(*make(256, 256, (4, 4), dtype=torch.bfloat16))
        )
    # The order is set for the call alone.
    with sdpa_kernel(SDPBackend.MATH):
        before = torch.backends.cuda.flash_sdp_enabled()
        sdpa.attend(*parts)
        assert torch.backends.cuda.flash_sdp_enabled() == before is False


def peak(call):
    """Bytes above what was there before."""
    call()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


@pytest.mark.parametrize("mask", ["none", "documents", "window"])
def test_memory_of_auto_grows_with_the_length_and_not_with_its_square(mask):
    """From 2,048 to 8,192 tokens: 4 times the memory and a little; naive takes 16 times."""

    def used(length):
        where = {"window": {"window": 256}, "none": {}}.get(mask)
        if where is None:
            where = {"documents": Documents(torch.arange(length, device="cuda")[None] // 500)}
        parts = make(length, length, (4, 4), dtype=torch.bfloat16, rows=1)
        upstream = torch.ones_like(parts[0])
        return peak(lambda: gradients(auto.attend(*parts, **where), parts, upstream))

    assert used(8192) < 6 * used(2048)


def test_a_step_of_auto_with_documents_waits_for_the_device_never():
    parts = make(256, 256, (4, 2), dtype=torch.bfloat16)
    numbers = torch.arange(256, device="cuda").expand(2, -1) // 100

    def step():
        out = auto.attend(*parts, documents=Documents(numbers))
        gradients(out, parts, torch.ones_like(out))

    step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("masked", [False, True])
def test_the_compiler_takes_auto_as_one_graph(masked):
    parts = make(256, 256, (4, 2), dtype=torch.bfloat16)
    numbers = torch.arange(256, device="cuda").expand(2, -1) // 100
    where = {"documents": numbers} if masked else {}
    compiled = torch.compile(auto.attend, fullgraph=True)
    assert compare(compiled, parts, where, tolerance=0.03)


@pytest.mark.parametrize("version", [2, 4])
@pytest.mark.parametrize("mask", MASKS, ids=name_of)
def test_each_installed_version_of_flash_attn_gives_the_numbers_of_naive(monkeypatch, version, mask):
    if version not in flash.INSTALLED:
        pytest.skip(f"flash-attn {version} is not installed")
    monkeypatch.setattr(flash, "INSTALLED", (version,))
    if flash.obstacle(version, torch.device("cuda"), torch.bfloat16, head_width=64, dropout=0.0):
        pytest.skip("this device is too old for it")
    for sizes, heads in itertools.product(SIZES, [(4, 4), (4, 1)]):
        where = stretched(mask, sizes[1])
        runs = "documents" not in mask or (sizes[0] == sizes[1] and "key_lengths" not in mask)
        if runs and "documents" in mask:
            runs = Documents(where["documents"]).lengths() is not None
        assert compare(flash.attend, make(*sizes, heads, dtype=torch.bfloat16), where, tolerance=0.03) == runs


def test_flash_attn_4_stays_whole_under_the_compiler():
    if 4 not in flash.INSTALLED or torch.cuda.get_device_capability() < (9, 0):
        pytest.skip("flash-attn 4 is not installed or the device is too old")
    parts = make(256, 256, (4, 2), dtype=torch.bfloat16)
    assert compare(torch.compile(flash.attend, fullgraph=True), parts, {}, tolerance=0.03)


def test_the_benchmark_measures_the_device(tmp_path):
    rows = attention.compare(
        lengths=[1024, 4096],
        backends=["naive", "sdpa", "auto"],
        precisions=["bf16"],
        batch_size=1,
        num_heads=8,
        num_kv_heads=8,
        head_width=64,
        rounds=1,
        device="cuda",
        folder=str(tmp_path),
    )
    by_name = {(row["backend"], row["tokens"]): row for row in rows}
    assert by_name["sdpa", 4096]["x less memory"] > 10
    assert by_name["naive", "power of T"]["forward+backward MB"] == pytest.approx(2, abs=0.2)
    assert by_name["sdpa", "power of T"]["forward+backward MB"] == pytest.approx(1, abs=0.2)
