"""The language-model task against a plain loop, and its metrics against sums over the whole split."""

import functools
import math

import lightning
import pytest
import torch
from torch.nn import functional

from src.data.block import Block
from src.errors import Diverged, UserError
from src.model.bilstm import BiLSTM
from src.model.transformer import Transformer
from src.schedule.constant import constant
from src.task import clipping
from src.task.evaluation import evaluate_split
from src.task.language_model import LanguageModel
from tests.test_task_classifier import fit, loader, make_trainer, weights

SGD = functools.partial(torch.optim.SGD, lr=0.5)
VOCABULARY = 40


def make_block(rows, *, share=1.0, uncounted=0):
    """Blocks whose content depends on their row numbers only; the last `uncounted` targets of each do not count."""
    tokens = torch.stack(
        [torch.randint(VOCABULARY, (9,), generator=torch.Generator().manual_seed(row)) for row in rows]
    )
    targets = tokens[:, 1:].clone()
    targets[:, 8 - uncounted :] = -100
    documents = (torch.arange(8) >= 5).long().expand(len(rows), 8)
    num_bytes = 3 * (targets != -100).sum()
    return Block(tokens[:, :-1], targets, documents.clone(), num_bytes, torch.tensor(share))


def make_task(*, optimizer=SGD, tie=True, **settings):
    torch.manual_seed(0)
    network = Transformer(
        vocab_size=VOCABULARY, width=16, num_layers=2, num_heads=2, feed_forward_width=24, tie_embeddings=tie
    )
    return LanguageModel(network=network, optimizer=optimizer, schedule=constant, **settings)


def sum_of_losses(network, block):
    logits = network(block.ids, documents=block.documents)
    return functional.cross_entropy(logits.flatten(0, 1), block.targets.flatten(), reduction="sum"), logits


def assert_same_weights(task, network, *, atol):
    for name, value in network.named_parameters():
        torch.testing.assert_close(weights(task)[name], value.detach(), rtol=0, atol=atol)


@pytest.mark.parametrize("z_loss", [0.0, 1e-3])
@pytest.mark.parametrize("tie", [True, False])
def test_one_step_is_the_five_steps_of_a_plain_loop(tie, z_loss):
    task, block = make_task(tie=tie, z_loss=z_loss, loss_chunk=5), make_block(range(4), uncounted=2)
    plain = make_task(tie=tie).network
    trainer = fit(task, [block], gradient_clip_val=0.1)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.5)
    nll, logits = sum_of_losses(plain, block)
    counted = logits.flatten(0, 1)[block.targets.flatten() != -100]
    ((nll + z_loss * counted.logsumexp(dim=1).square().sum()) / len(counted)).backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.1)
    optimizer.step()
    assert_same_weights(task, plain, atol=1e-7)
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(nll.item() / len(counted), abs=1e-6)


def test_four_micro_batches_of_two_equal_one_of_eight():
    accumulated, whole = make_task(), make_task()
    parts = [make_block(range(2 * part, 2 * part + 2), share=0.25) for part in range(4)]
    fit(accumulated, parts, accumulate_grad_batches=4)
    fit(whole, [make_block(range(8))])
    assert_same_weights(accumulated, whole.network, atol=1e-6)


def test_micro_batches_weigh_by_their_counted_targets():
    """A mean of their means would favour the tokens of a micro-batch that counts few."""
    uncounted = [0, 7, 3, 5]
    counts = [2 * (8 - number) for number in uncounted]
    parts = [
        make_block([2 * part, 2 * part + 1], uncounted=number, share=count / sum(counts))
        for part, (number, count) in enumerate(zip(uncounted, counts, strict=True))
    ]
    whole = Block(*(torch.cat([getattr(part, name) for part in parts]) for name in ("ids", "targets", "documents")),
                  num_bytes=sum(part.num_bytes for part in parts), share=torch.tensor(1.0))  # fmt: skip
    accumulated, single = make_task(), make_task()
    trainer = fit(accumulated, parts, accumulate_grad_batches=4)
    alone = fit(single, [whole])
    assert_same_weights(accumulated, single.network, atol=1e-6)
    losses = [each.callback_metrics["train/loss"].item() for each in (trainer, alone)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def evaluate(task, blocks, split="val"):
    class Data(lightning.LightningDataModule):
        def val_dataloader(self):
            return loader(blocks)

        test_dataloader = val_dataloader

    make = functools.partial(make_trainer, max_epochs=None, limit_val_batches=1.0)
    return evaluate_split(task, Data(), split=split, make_trainer=lambda **parts: make(**parts))


@pytest.mark.parametrize("split", ["val", "test"])
def test_metrics_are_those_of_the_summed_losses_of_the_split(split):
    """z-loss is trained on and is in none of them."""
    task = make_task(z_loss=0.1)
    blocks = [make_block(range(3)), make_block(range(3, 4), uncounted=6)]
    evaluation = evaluate(task, blocks, split)
    nll = sum(sum_of_losses(task.network, block)[0].item() for block in blocks)
    tokens, num_bytes = 3 * 8 + 2, 3 * (3 * 8 + 2)
    expected = {
        f"{split}/loss": nll / tokens,
        f"{split}/ppl": math.exp(nll / tokens),
        f"{split}/bits_per_byte": nll / math.log(2) / num_bytes,
    }
    assert evaluation.metrics == pytest.approx(expected, rel=1e-6)
    assert evaluation.predictions == {}


def test_a_second_evaluation_starts_from_nothing():
    task, blocks = make_task(), [make_block(range(3))]
    assert evaluate(task, blocks).metrics == evaluate(task, blocks).metrics


def test_documents_reach_the_network():
    """With all in one document, tokens behind the border would see those before it."""
    task, block = make_task(), make_block(range(2))
    joined = block._replace(documents=torch.zeros_like(block.documents))
    with torch.no_grad():
        assert task(block).nll.item() == pytest.approx(sum_of_losses(task.network, block)[0].item(), rel=1e-6)
        assert abs(task(block).nll - task(joined).nll) > 1e-4


def test_it_learns_under_bf16_autocast():
    task = make_task(optimizer=functools.partial(torch.optim.AdamW, lr=0.01, fused=True))
    before = evaluate(task, [make_block(range(4))]).metrics["val/loss"]
    fit(task, [make_block(range(4))], precision="bf16-mixed", max_epochs=20)
    assert evaluate(task, [make_block(range(4))]).metrics["val/loss"] < before - 1


def test_a_network_that_does_not_continue_text_is_refused():
    with pytest.raises(UserError, match=r"model \(BiLSTM\) is no language model.*transformer_tiny"):
        LanguageModel(network=BiLSTM(), optimizer=SGD, schedule=constant)


@pytest.mark.parametrize("validation", [{"limit_val_batches": 0}, {"limit_val_batches": 1.0, "val_check_interval": 2}])
def test_a_run_judged_on_the_device_ends_before_it_is_measured_or_over(monkeypatch, validation):
    monkeypatch.setattr(clipping, "judged_on_device", lambda task, loss, optimizer: True)
    task = make_task(optimizer=functools.partial(torch.optim.AdamW, lr=0.01, fused=True))
    task.network.norm.weight.register_hook(lambda gradient: gradient * float("nan"))
    before = weights(task)
    with pytest.raises(Diverged, match=r"optimizer step 0 .*gradient norm nan"):
        fit(task, [make_block(range(2))] * 4, log_every_n_steps=50, **validation)
    assert "val/loss" not in task.trainer.callback_metrics
    assert all(torch.equal(before[name], value) for name, value in weights(task).items())
