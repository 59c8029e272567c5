"""Resuming where the state lies on a CUDA device; skipped elsewhere, run with `pytest -m gpu`."""

import functools

import pytest
import torch

from src.model.transformer import Transformer
from src.task.language_model import LanguageModel
from tests.test_callbacks_continuation import MODELS, assert_same, killed_after, run
from tests.test_task_language_model import VOCABULARY, make_block

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def fused(schedule, **settings):
    """Its guard judges on the device, so that steps are unread when a checkpoint is due."""
    sizes = {"width": 32, "num_layers": 2, "num_heads": 2, "feed_forward_width": 64}
    network = Transformer(vocab_size=VOCABULARY, dropout=0.2, **sizes)
    optimizer = functools.partial(torch.optim.AdamW, lr=0.01, fused=True)
    return LanguageModel(network=network, optimizer=optimizer, schedule=schedule, **settings)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_on_a_gpu_goes_on_to_the_bit(tmp_path, monkeypatch, precision, accumulate):
    """The scaler of fp16 included; deterministic=true, because CUDA adds gradients of embeddings in any order."""
    monkeypatch.setitem(MODELS, "fused", (fused, make_block))
    settings = {"model": "fused", "precision": precision, "accumulate_grad_batches": accumulate}
    settings |= {"accelerator": "gpu", "devices": 1, "deterministic": True, "val_check_interval": 2}
    whole = tmp_path / "whole"
    record = run(whole, **settings)
    for step in (1, 2, 3):
        again = run(killed_after(whole, step, tmp_path / str(step)), **settings)
        assert again.seen == {place: record.seen[place] for place in again.seen}
        assert_same(tmp_path / str(step), whole)
