"""What the throughput callback counts, against sums by hand over a clock that the test moves."""

import logging
from functools import partial

import lightning
import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from src.attention import naive
from src.callbacks import throughput
from src.callbacks.throughput import Throughput, known_peak
from src.data.block import Block
from src.model.flops import flops_per_token
from src.model.transformer import Transformer
from src.run.peaks import HALF, SINGLE, peak_flops
from src.schedule.constant import constant
from src.task.language_model import LanguageModel

FIRST, STEP, VALIDATION, PEAK = 100.0, 2.0, 1000.0, 1e9


def make_network():
    return Transformer(vocab_size=16, width=8, num_layers=2, num_heads=2, feed_forward_width=12, max_length=16)


def make_block(rows, length):
    ids = torch.randint(0, 16, (rows, length))
    ones = torch.ones(())
    return Block(ids=ids, targets=ids, documents=torch.zeros_like(ids), num_bytes=ones.long() * ids.numel(), share=ones)


class Seconds(lightning.Callback):
    """Moves the clock that the callback reads: the first batch, later ones and a validation take what they take."""

    def __init__(self, monkeypatch):
        self.now, self.first = 50.0, True
        monkeypatch.setattr(throughput.time, "perf_counter", lambda: self.now)

    def on_train_batch_start(self, *_):
        self.now += FIRST if self.first else STEP
        self.first = False

    def on_validation_epoch_start(self, *_):
        self.now += VALIDATION


class Known(lightning.Callback):
    """Gives a CPU a peak."""

    def __init__(self, callback):
        self.callback = callback

    def on_train_start(self, *_):
        self.callback.peak = PEAK


class Rows(lightning.Callback):
    """Keeps each recent speed with its step."""

    def __init__(self):
        self.found = []

    def on_train_batch_end(self, trainer, *_):
        value = trainer.callback_metrics.get("throughput/recent_tokens_per_second")
        if value is not None and (not self.found or self.found[-1][1] != float(value)):
            self.found.append((trainer.global_step, float(value)))


def train(blocks, monkeypatch, *, epochs=1, **settings):
    """callback_metrics and recent speeds of a run over these blocks, validation on."""
    counter, rows = Throughput(), Rows()
    network = make_network()
    optimizer = partial(torch.optim.AdamW, lr=1e-3)
    task = LanguageModel(network=network, optimizer=optimizer, schedule=constant)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[Seconds(monkeypatch), counter, Known(counter), rows],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    trainer.fit(task, DataLoader(blocks, batch_size=None), DataLoader(blocks[:1], batch_size=None))
    return trainer.callback_metrics, rows.found, network


def test_speed_leaves_out_the_first_batch_and_validations(monkeypatch):
    """Four batches of 2 s behind one of 100 s, with a validation of 1000 s in between: 4 * 3 rows in 8 s."""
    metrics, _, _ = train([make_block(3, 4)] * 5, monkeypatch, val_check_interval=2, num_sanity_val_steps=1)
    assert metrics["throughput/examples_per_second"] == pytest.approx(12 / 8)
    assert metrics["throughput/tokens_per_second"] == pytest.approx(48 / 8)


def test_a_later_epoch_counts_whole(monkeypatch):
    metrics, _, _ = train([make_block(3, 4), make_block(1, 4)], monkeypatch, epochs=2)
    assert metrics["throughput/examples_per_second"] == pytest.approx(4 / 4)


def test_a_fit_of_one_batch_claims_no_speed(monkeypatch):
    metrics, _, _ = train([make_block(3, 4)], monkeypatch)
    assert not any(name.startswith("throughput/") for name in metrics)


def test_recent_speed_is_that_since_the_last_line(monkeypatch):
    """A line every 2 steps: the first covers step 2 alone, since step 1 is left out, the second steps 3 and 4."""
    blocks = [make_block(rows, 4) for rows in (5, 1, 2, 4, 7)]
    _, recent, _ = train(blocks, monkeypatch, log_every_n_steps=2)
    assert recent == [(2, pytest.approx(1 * 4 / 2)), (4, pytest.approx(6 * 4 / 4))]


def test_recent_speed_with_accumulation_is_written_once_per_step(monkeypatch):
    _, recent, _ = train(
        [make_block(rows, 4) for rows in (5, 1, 2, 4, 7, 8)],
        monkeypatch,
        log_every_n_steps=1,
        accumulate_grad_batches=2,
    )
    assert recent == [(1, pytest.approx(2.0)), (2, pytest.approx(24 / 4)), (3, pytest.approx(60 / 4))]


def test_no_interval_is_no_recent_speed(monkeypatch):
    metrics, recent, _ = train([make_block(1, 4)] * 3, monkeypatch, log_every_n_steps=0)
    assert recent == []
    assert metrics["throughput/tokens_per_second"] == pytest.approx(2.0)


def test_mfu_is_the_models_arithmetic_over_the_peak_with_each_batch_at_its_own_length(monkeypatch):
    metrics, _, network = train([make_block(1, 2), make_block(3, 4), make_block(2, 16)], monkeypatch)
    for name, causal in (("palm", False), ("causal", True)):
        flops = sum(rows * t * flops_per_token(network, t, causal=causal) for rows, t in ((3, 4), (2, 16)))
        assert metrics[f"throughput/mfu_{name}"] == pytest.approx(flops / 4 / PEAK)
    assert metrics["throughput/mfu_causal"] < metrics["throughput/mfu_palm"]


@pytest.mark.parametrize("settings", [{}, {"num_kv_heads": 1}, {"tie_embeddings": False}, {"feed_forward_width": 20}])
def test_the_palm_count_is_what_torch_counts_in_forward_and_backward(settings):
    """FlopCounterMode sees every matrix product of naive attention; the embedding is a lookup and has none."""
    sizes = {"vocab_size": 16, "width": 8, "num_layers": 2, "num_heads": 2, "feed_forward_width": 12} | settings
    network = Transformer(**sizes, max_length=8, attention=naive.attend)
    with FlopCounterMode(display=False) as counter:
        network(torch.randint(0, 16, (3, 8))).sum().backward()
    # Nothing behind the logits asks for the gradient of the ids, so every product runs once forward, twice backward.
    assert flops_per_token(network, 8, causal=False) * 24 == pytest.approx(counter.get_total_flops(), rel=1e-6)


# Streaming multiprocessors (AMD: compute units), boost clock in GHz, dense bf16 FLOP per clock of each.
UNITS = {
    "NVIDIA A100-SXM4-80GB": (108, 1.41, 2048),
    "NVIDIA H100 80GB HBM3": (132, 1.83, 4096),
    "NVIDIA H100 PCIe": (114, 1.62, 4096),
    "NVIDIA H200": (132, 1.83, 4096),
    "NVIDIA L4": (58, 2.04, 1024),
    "NVIDIA GeForce RTX 3090": (82, 1.695, 512),
    "NVIDIA GeForce RTX 4090": (128, 2.52, 512),
    "NVIDIA GeForce RTX 5090": (170, 2.407, 512),
    "AMD Instinct MI300X": (304, 2.1, 2048),
}


@pytest.mark.parametrize("name", UNITS)
def test_a_peak_is_what_its_units_can_do_dense(name):
    units, clock, flops = UNITS[name]
    assert peak_flops(name, "bf16-mixed") == peak_flops(name, "16-mixed") == peak_flops(name, "bf16-true")
    assert peak_flops(name, "bf16-mixed") == pytest.approx(units * clock * 1e9 * flops, rel=0.01)


@pytest.mark.parametrize(
    "name", ["NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA A100-SXM4-80GB MIG 1g.10gb", "NVIDIA T1", "H200", ""]
)
def test_a_device_that_is_not_in_the_table_has_no_peak(name):
    assert peak_flops(name, "bf16-mixed") is None


def test_precisions_without_a_figure_have_no_peak():
    assert peak_flops("NVIDIA H200", "64-true") is None
    assert peak_flops("NVIDIA L4", "32-true") is None
    assert set(SINGLE) <= set(HALF)
    assert all(SINGLE[name] < HALF[name] / 5 for name in SINGLE)


def test_an_unknown_device_is_named(caplog):
    with caplog.at_level(logging.WARNING):
        assert known_peak("NVIDIA Z9", "bf16-mixed") is None
        assert known_peak("NVIDIA H200", "bf16-mixed") == 989.4e12
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["No MFU"]
    assert "NVIDIA Z9" in caplog.text
