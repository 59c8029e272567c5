"""The task around the two LSTM language models: exact measures, sampled training, guarded steps."""

import csv
import math
import random
from functools import partial
from pathlib import Path

import lightning
import pytest
import torch
from torch.nn import functional as F

from src.callbacks.step_seed import StepSeed
from src.data.source import read_corpus
from src.data.word_blocks import WordBlocks
from src.errors import Diverged, UserError
from src.model.bilstm import BiLSTM
from src.model.recurrent_lm import RecurrentLanguageModel
from src.schedule.constant import constant
from src.task.recurrent_language_model import BidirectionalLanguageModel


@pytest.fixture
def data(tmp_path: Path) -> WordBlocks:
    """Reviews in which each word but the first of a pair follows from its neighbour, in both directions."""
    draw = random.Random(0)

    def text() -> str:
        return " ".join(f"a{n} b{n}" for n in (draw.randrange(12) for _ in range(draw.randrange(2, 9))))

    with open(tmp_path / "train.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((text(), n % 2) for n in range(120))])
    module = WordBlocks(
        path=str(tmp_path / "train.csv"),
        reader=read_corpus,
        label_names=["neg", "pos"],
        include_unsupervised=False,
        vocab_size=26,
        max_length=10,
        batch_size=16,
        eval_batch_size=5,
        bucket_batches=2,
        cache_dir=str(tmp_path / "cache"),
    )
    module.setup()
    return module


def make_task(**changes) -> BidirectionalLanguageModel:
    torch.manual_seed(0)
    network = RecurrentLanguageModel(vocab_size=26, width=8, hidden=12)
    optimizer = partial(torch.optim.Adam, lr=0.02)
    settings = {"optimizer": optimizer, "schedule": constant, "num_samples": 12, **changes}
    return BidirectionalLanguageModel(network=network, **settings)


def make_trainer(**changes) -> lightning.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    settings = {"accelerator": "cpu", "max_epochs": 1, "use_distributed_sampler": False, "enable_model_summary": False}
    return lightning.Trainer(
        **{**quiet, **settings, "callbacks": [StepSeed(seed=0)], "log_every_n_steps": 1, **changes}
    )


def test_validation_is_the_exact_loss_of_each_direction_per_word(data) -> None:
    task = make_task()
    found = make_trainer().validate(task, data, verbose=False)[0]
    forward = reverse = 0.0
    count = 0
    with torch.no_grad():
        for block in data.val_dataloader():
            after, before = task.network(block.ids, block.lengths)
            for row, length in enumerate(block.lengths.tolist()):
                words = block.ids[row, :length]
                forward += F.cross_entropy(after[row, : length - 1], words[1:], reduction="sum").item()
                reverse += F.cross_entropy(before[row, 1:length], words[:-1], reduction="sum").item()
                count += length - 1
    assert found["val/loss_forward"] == pytest.approx(forward / count, rel=1e-5)
    assert found["val/loss_reverse"] == pytest.approx(reverse / count, rel=1e-5)
    assert found["val/loss"] == pytest.approx((forward + reverse) / (2 * count), rel=1e-5)
    assert found["val/ppl"] == pytest.approx(math.exp(found["val/loss"]), rel=1e-5)
    assert make_trainer().validate(task, data, verbose=False)[0] == found


def test_training_by_samples_lowers_the_exact_loss_below_that_of_single_words(data) -> None:
    """Half of the words follow from their neighbour: ln 12 / 2 = 1.24 nats is the floor, ln 24 = 3.18 a guess."""
    task = make_task()
    trainer = make_trainer(max_epochs=10, check_val_every_n_epoch=10)
    trainer.fit(task, data)
    assert trainer.callback_metrics["val/loss"] < 2.0
    assert trainer.callback_metrics["train/sampled_loss"] < trainer.callback_metrics["val/loss"]


def test_the_same_seed_gives_the_same_bits(data) -> None:
    states = []
    for _ in range(2):
        task = make_task()
        make_trainer().fit(task, data)
        states.append(task.network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_unequal_micro_batches_give_the_gradient_of_the_one_big_batch(data) -> None:
    """With all words in the sample nothing is random; passages of different length must weigh by their words."""
    states = []
    for batch_size, accumulate in ((16, 1), (4, 4)):
        task = make_task(optimizer=partial(torch.optim.SGD, lr=1.0), num_samples=26)
        data.batch_size, data.bucket_batches = batch_size, 0
        make_trainer(accumulate_grad_batches=accumulate, max_steps=1, limit_val_batches=0).fit(task, data)
        states.append(task.network.state_dict())
    start = make_task().network.state_dict()
    assert not torch.equal(states[0]["projection.weight"], start["projection.weight"])
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name], atol=1e-6, rtol=1e-5)


def test_a_loss_that_is_not_finite_ends_the_run_before_it_reaches_a_weight(data) -> None:
    task = make_task()
    with torch.no_grad():
        task.network.projection.bias[0] = float("inf")
    before = task.network.embedding.weight.clone()
    with pytest.raises(Diverged):
        make_trainer().fit(task, data)
    assert torch.equal(task.network.embedding.weight, before)


def test_bfloat16_measures_the_same_within_a_percent(data) -> None:
    exact = make_trainer().validate(make_task(), data, verbose=False)[0]
    coarse = make_trainer(precision="bf16-mixed").validate(make_task(), data, verbose=False)[0]
    assert coarse["val/loss"] == pytest.approx(exact["val/loss"], rel=0.01)


def test_another_network_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"BiLSTM.*choose model=bilstm_lm"):
        BidirectionalLanguageModel(network=BiLSTM(), optimizer=torch.optim.Adam, schedule=constant)
