"""Throughput, MFU and the memory plan on a CUDA device; skipped elsewhere, run with `pytest -m gpu`."""

from functools import partial

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from src.attention import naive, sdpa
from src.callbacks.throughput import Throughput
from src.check.memory import plan_memory
from src.model.transformer import Transformer
from src.run.peaks import peak_flops
from src.schedule.constant import constant
from src.task.language_model import LanguageModel
from src.task.linear_cross_entropy import linear_cross_entropy
from tests.test_callbacks_throughput import make_block
from tests.test_check_memory import config_of, packed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
SIZES = {"vocab_size": 2048, "width": 256, "num_layers": 4, "num_heads": 4, "num_kv_heads": 2, "max_length": 512}
BACKENDS = {"naive": naive.attend, "sdpa": sdpa.attend}


def train(blocks, *, network, callbacks, **settings):
    optimizer = partial(torch.optim.AdamW, lr=1e-3, fused=True)
    task = LanguageModel(network=network, optimizer=optimizer, schedule=constant)
    trainer = lightning.Trainer(
        accelerator="gpu",
        devices=1,
        max_epochs=1,
        precision="bf16-mixed",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        **settings,
    )
    trainer.fit(task, DataLoader(blocks, batch_size=None), DataLoader(blocks[:1], batch_size=None))
    return trainer.callback_metrics


class Strict(Throughput):
    """Every wait for the device inside the hook that runs per batch is an error, but for the steps that log."""

    def on_train_batch_end(self, trainer, *arguments):
        try:
            torch.cuda.set_sync_debug_mode("default" if not self.warm else "error")
            super().on_train_batch_end(trainer, *arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_no_batch_waits_for_the_device():
    """The third batch is the first that is counted with everything made; from there on nothing may wait."""
    network = Transformer(vocab_size=16, width=32, num_layers=1, num_heads=2, feed_forward_width=32, max_length=16)
    callback = Strict()
    metrics = train([make_block(2, 16)] * 6, network=network, callbacks=[callback], log_every_n_steps=100)
    assert metrics["throughput/tokens_per_second"] > 0


def test_mfu_and_memory_are_logged_where_the_peak_is_known():
    network = Transformer(**SIZES, feed_forward_width=688)
    metrics = train([make_block(8, 512)] * 20, network=network, callbacks=[Throughput()], log_every_n_steps=10)
    assert metrics["throughput/peak_memory_bytes"] > sum(parameter.nbytes for parameter in network.parameters())
    if peak_flops(torch.cuda.get_device_name(), "bf16-mixed") is None:
        assert not any(name.startswith("throughput/mfu") for name in metrics)
    else:
        assert 0 < metrics["throughput/mfu_causal"] < metrics["throughput/mfu_palm"] < 1


@pytest.mark.parametrize("checkpointing", ["none", "blocks", "selective"])
@pytest.mark.parametrize(
    ("attention", "precision"), [("sdpa", "bf16-mixed"), ("sdpa", "bf16-true"), ("naive", "32-true")]
)
def test_the_planned_peak_is_what_the_allocator_reaches(attention, precision, checkpointing):
    """torch.cuda.max_memory_allocated over a step whose gradients of the step before are dropped behind the forward."""
    rows, length = 8, 512
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    network = Transformer(
        **SIZES, feed_forward_width=688, attention=BACKENDS[attention], checkpointing=checkpointing
    ).to("cuda", torch.bfloat16 if precision == "bf16-true" else torch.float32)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    ids = torch.randint(0, SIZES["vocab_size"], (rows, length), device="cuda")
    documents = packed(ids)
    for _ in range(3):
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16-mixed"):
            hidden = network.hidden(ids, documents=documents).flatten(0, 1)
            loss = linear_cross_entropy(hidden, network.output_weight, ids.flatten()).objective
        del hidden
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        del loss
    peak = torch.cuda.max_memory_allocated() - before
    config = config_of(rows=rows, length=length, precision=precision, attention=attention)
    assert plan_memory(config, network, cuda=True).total == pytest.approx(peak, rel=0.25)
