"""What attention=auto takes on which device, and that it says so in one line."""

import types

import pytest
import torch

from src.attention import auto, flash, flex, naive, sdpa
from tests.test_attention_equality import DOCUMENTS, close, make

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
HALF = torch.bfloat16


def inputs(queries=64, keys=64, *, device=CUDA, dtype=HALF, width=64):
    """What `choose` looks at of q and k, for a device that need not be there."""
    return [types.SimpleNamespace(shape=(2, 4, steps, width), device=device, dtype=dtype) for steps in (queries, keys)]


def on(monkeypatch, *, installed, major):
    monkeypatch.setattr(flash, "INSTALLED", installed)
    monkeypatch.setattr(flash, "capability", lambda device: major)


@pytest.mark.parametrize(
    ("installed", "major", "changes", "mask", "expected"),
    [
        ((2, 4), 9, {"device": CPU}, {}, sdpa),
        ((2, 4), 9, {"device": CPU}, {"documents": DOCUMENTS}, sdpa),
        ((), 9, {}, {}, sdpa),
        ((2,), 8, {}, {}, flash),
        ((2,), 9, {}, {}, sdpa),  # cuDNN is faster than flash-attn 2 there
        ((4,), 9, {}, {}, flash),
        ((2, 4), 9, {}, {}, flash),
        ((4,), 9, {"dtype": torch.float32}, {}, sdpa),
        ((4,), 9, {"width": 20}, {}, sdpa),
        ((4,), 9, {}, {"dropout": 0.1}, sdpa),
        ((2,), 8, {}, {"dropout": 0.1}, flash),
        ((4,), 9, {}, {"window": 8}, flash),
        ((), 9, {}, {"window": 8}, flex),
        ((), 9, {}, {"window": 64}, sdpa),  # a window that hides nothing
        ((4,), 9, {}, {"documents": DOCUMENTS}, flex),
        ((4,), 9, {"width": 8}, {"documents": DOCUMENTS}, sdpa),
        ((4,), 9, {}, {"documents": DOCUMENTS, "dropout": 0.1}, sdpa),
        ((4,), 9, {"queries": 1}, {}, sdpa),
        ((4,), 9, {"queries": 1, "keys": 1}, {}, sdpa),
        ((4,), 9, {"queries": 8}, {"window": 8}, sdpa),
        ((4,), 9, {}, {"key_lengths": torch.tensor([3, 4])}, sdpa),
    ],
)
def test_auto_takes_the_fastest_that_can(monkeypatch, installed, major, changes, mask, expected):
    on(monkeypatch, installed=installed, major=major)
    settings = {"window": None, "documents": None, "key_lengths": None, "dropout": 0.0} | mask
    assert auto.choose(*inputs(**changes), **settings) is expected.attend


@pytest.mark.parametrize(
    ("installed", "major", "device", "dtype", "line"),
    [
        ((), 9, CPU, HALF, "attention=auto takes sdpa on this device (cpu)."),
        ((4,), 9, CUDA, HALF, "attention=auto takes flash-attn 4, flex for documents and windows, sdpa for decoding."),
        (
            (2,),
            9,
            CUDA,
            HALF,
            "attention=auto takes sdpa (faster here than flash-attn 2), flex for documents and windows.",
        ),
        (
            (),
            9,
            CUDA,
            HALF,
            "attention=auto takes sdpa (neither flash-attn nor flash-attn-4 is installed), "
            "flex for documents and windows.",
        ),
    ],
)
def test_one_line_says_what_auto_takes(monkeypatch, installed, major, device, dtype, line):
    on(monkeypatch, installed=installed, major=major)
    assert auto.explain(device, dtype) == line


def test_the_compiler_takes_the_choice_as_part_of_one_graph():
    compiled = torch.compile(auto.attend, backend="aot_eager", fullgraph=True)
    parts = make(16, 16, (4, 2))
    for mask in ({}, {"documents": DOCUMENTS[:, :16]}):
        close(compiled(*parts, **mask), naive.attend(*parts, **mask), 2e-6)
    torch.compiler.reset()
