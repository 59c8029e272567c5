"""The task against plain torch: gradients, clipping, decay, guards and metrics."""

import functools
import math

import lightning
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from src.data.batch import Batch
from src.errors import Diverged
from src.model.bilstm import BiLSTM
from src.schedule.constant import constant
from src.task.adversarial import adversarial_loss
from src.task.classifier import Classifier
from src.task.evaluation import evaluate_split


def make_batch(rows, *, share=1.0, seed=0):
    """A batch of random reviews whose content depends on their row numbers only."""
    reviews = []
    for row in rows:
        generator = torch.Generator().manual_seed(1000 * seed + row)
        length = int(torch.randint(3, 9, (), generator=generator))
        reviews.append(torch.randint(2, 50, (length,), generator=generator))
    ids = torch.nn.utils.rnn.pad_sequence(reviews, batch_first=True)
    lengths = torch.tensor([len(review) for review in reviews])
    labels = torch.tensor([row % 2 for row in rows])
    return Batch(ids=ids, lengths=lengths, labels=labels, rows=torch.tensor(list(rows)), share=torch.tensor(share))


SGD = functools.partial(torch.optim.SGD, lr=0.1)


def make_task(*, optimizer=SGD, **settings):
    torch.manual_seed(0)
    network = BiLSTM(vocab_size=50, width=8, hidden=8, dropout=0.0)
    return Classifier(network=network, optimizer=optimizer, schedule=constant, **settings)


def loader(batches):
    return DataLoader(batches, batch_size=None)


def make_trainer(**settings):
    defaults = {"max_epochs": 1, "logger": False, "callbacks": [], "enable_checkpointing": False}
    defaults |= {"limit_val_batches": 0, "log_every_n_steps": 1}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return lightning.Trainer(**{**defaults, **quiet, **settings})


def weights(task):
    return {name: value.detach().clone() for name, value in task.network.named_parameters()}


def fit(task, batches, **settings):
    trainer = make_trainer(**settings)
    trainer.fit(task, loader(batches), loader(batches))
    return trainer


def test_an_adversarial_step_follows_the_loss_of_the_moved_reviews():
    task, batch = make_task(adversarial=5.0), make_batch(range(8))
    plain = make_task().network
    fit(task, [batch])
    loss_of = functools.partial(torch.nn.functional.cross_entropy, target=batch.labels)
    adversarial_loss(plain, batch.ids, batch.lengths, loss=loss_of, epsilon=5.0).backward()
    torch.optim.SGD(plain.parameters(), lr=0.1).step()
    for name, value in plain.named_parameters():
        torch.testing.assert_close(weights(task)[name], value, rtol=0, atol=1e-7)


def test_one_step_is_the_five_steps_of_a_plain_loop():
    task, batch = make_task(), make_batch(range(8))
    plain = make_task().network
    fit(task, [batch], gradient_clip_val=0.01)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    loss = torch.nn.functional.cross_entropy(plain(batch.ids, batch.lengths), batch.labels)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.01)
    optimizer.step()
    for name, value in plain.named_parameters():
        torch.testing.assert_close(weights(task)[name], value, rtol=0, atol=1e-7)


def test_accumulated_unequal_micro_batches_equal_one_big_batch():
    """Shares weigh micro-batches by their reviews; a plain mean of means would be off."""
    parts = [
        make_batch(range(0, 5), share=5 / 12),
        make_batch(range(5, 8), share=3 / 12),
        make_batch(range(8, 12), share=4 / 12),
    ]
    accumulated, whole = make_task(), make_task()
    fit(accumulated, parts, accumulate_grad_batches=3)
    fit(whole, [make_batch(range(12))])
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(accumulated)[name], value, rtol=0, atol=1e-7)


def test_weight_decay_leaves_biases_alone():
    task = make_task(optimizer=functools.partial(torch.optim.SGD, lr=0.1, weight_decay=0.5))
    before = weights(task)
    groups = fit(task, [make_batch(range(4))], limit_train_batches=1).optimizers[0].param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert {p.ndim for p in groups[0]["params"]} == {2}
    assert {p.ndim for p in groups[1]["params"]} == {1}
    assert sum(p.numel() for group in groups for p in group["params"]) == sum(p.numel() for p in before.values())


def test_decay_all_is_one_group_as_torch_does_it():
    task = make_task(decay="all", optimizer=functools.partial(torch.optim.SGD, lr=0.1, weight_decay=0.5))
    groups = fit(task, [make_batch(range(4))]).optimizers[0].param_groups
    assert [group["weight_decay"] for group in groups] == [0.5]


class Poison(lightning.Callback):
    """Turns the gradient of one batch into NaN after backward."""

    def __init__(self, batch):
        self.batch = batch

    def on_after_backward(self, trainer, pl_module):
        if trainer.fit_loop.epoch_loop.batch_idx == self.batch:
            pl_module.network.head.bias.grad[0] = float("nan")


def test_a_non_finite_gradient_stops_the_run_before_it_reaches_a_weight():
    task = make_task()
    before = weights(task)
    with pytest.raises(Diverged, match=r"optimizer step 0 .*gradient norm nan.*task.non_finite=skip"):
        fit(task, [make_batch(range(4))], callbacks=[Poison(0)])
    assert all(torch.equal(before[name], value) for name, value in weights(task).items())


def test_skip_leaves_weights_and_moments_bit_unchanged():
    adam = functools.partial(torch.optim.Adam, lr=0.1, fused=True)
    batches = [make_batch(range(4)), make_batch(range(4, 8))]
    skipping, single = make_task(optimizer=adam, non_finite="skip"), make_task(optimizer=adam)
    after_skip = fit(skipping, batches, callbacks=[Poison(1)], gradient_clip_val=1.0)
    after_one = fit(single, batches[:1], gradient_clip_val=1.0)
    assert skipping.guard.skipped == 1
    assert all(torch.equal(weights(single)[name], value) for name, value in weights(skipping).items())
    for left, right in zip(
        after_skip.optimizers[0].state.values(), after_one.optimizers[0].state.values(), strict=True
    ):
        assert torch.equal(left["exp_avg"], right["exp_avg"])
        assert torch.equal(left["exp_avg_sq"], right["exp_avg_sq"])


def test_too_many_skips_in_a_row_end_the_run_all_the_same():
    class AlwaysPoison(Poison):
        def on_after_backward(self, trainer, pl_module):
            pl_module.network.head.bias.grad[0] = float("inf")

    with pytest.raises(Diverged, match=r"task.max_skips \(3\)"):
        fit(make_task(non_finite="skip", max_skips=3), [make_batch(range(4))] * 5, callbacks=[AlwaysPoison(0)])


def evaluate(task, batches):
    class Data(lightning.LightningDataModule):
        def val_dataloader(self):
            return loader(batches)

        test_dataloader = val_dataloader

    make = functools.partial(make_trainer, max_epochs=None, limit_val_batches=1.0)
    return evaluate_split(task, Data(), split="val", make_trainer=lambda **parts: make(**parts))


def test_validation_does_not_depend_on_how_the_split_is_cut_into_batches():
    """A short last batch counts by its reviews."""
    task = make_task()
    whole = evaluate(task, [make_batch(range(20))])
    cut = evaluate(task, [make_batch(range(0, 9)), make_batch(range(9, 18)), make_batch(range(18, 20))])
    assert cut.metrics == pytest.approx(whole.metrics, abs=1e-6)


def test_metrics_equal_those_counted_by_hand():
    task = make_task()
    evaluation = evaluate(task, [make_batch(range(0, 16)), make_batch(range(16, 30))])
    labels, scores = evaluation.predictions["labels"], evaluation.predictions["probabilities"][:, 1]
    predicted = scores > 0.5
    tp, fp = int(np.sum(predicted & (labels == 1))), int(np.sum(predicted & (labels == 0)))
    fn, tn = int(np.sum(~predicted & (labels == 1))), int(np.sum(~predicted & (labels == 0)))
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels == 1] for b in scores[labels == 0]]
    expected = {
        "val/acc": (tp + tn) / 30,
        "val/precision": tp / (tp + fp) if tp + fp else 0.0,
        "val/recall": tp / (tp + fn),
        "val/f1": 2 * tp / (2 * tp + fp + fn),
        "val/auroc": float(np.mean(pairs)),
    }
    assert {name: evaluation.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert task.confusion_counts["val"].tolist() == [[tn, fp], [fn, tp]]


def test_predictions_come_back_in_the_order_of_the_rows():
    evaluation = evaluate(make_task(), [make_batch([7, 3]), make_batch([5, 1, 4])])
    assert evaluation.predictions["rows"].tolist() == [1, 3, 4, 5, 7]
    assert evaluation.predictions["labels"].tolist() == [1, 1, 0, 1, 1]
    assert evaluation.predictions["probabilities"].shape == (5, 2)


@pytest.mark.filterwarnings("ignore:No negative samples in targets")
def test_auroc_of_a_split_with_one_class_is_undefined_and_not_zero():
    assert math.isnan(evaluate(make_task(), [make_batch([1, 3, 5])]).metrics["val/auroc"])


def test_label_smoothing_is_cross_entropy_against_softened_labels():
    task, batch = make_task(label_smoothing=0.2), make_batch(range(6))
    trainer = fit(task, [batch])
    plain = make_task().network
    targets = torch.nn.functional.one_hot(batch.labels, 2) * 0.8 + 0.1
    loss = -(targets * plain(batch.ids, batch.lengths).log_softmax(1)).sum(1).mean()
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(loss.item(), abs=1e-6)
