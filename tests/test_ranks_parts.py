"""The parts by which several ranks compute one training, each on its own; stand-ins play the other ranks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.precision import HalfPrecision
from torch.nn import functional as F

from src.callbacks.step_seed import step_seed
from src.callbacks.throughput import over_ranks
from src.data.batch import Batch
from src.data.block import Block
from src.data.passages import WordBlock
from src.task.metrics import ClassificationMetrics, mean_loss
from src.task.objective import part_of_step
from src.task.running_loss import RunningLoss

ONES = torch.ones(3, 4, dtype=torch.int64)
BATCHES = {
    "reviews": Batch(ONES, ONES[:, 0] * 4, ONES[:, 0], ONES[:, 0], share=0.0),
    "blocks": Block(ONES, ONES, ONES, ONES.sum(), share=0.0),
    "passages": WordBlock(ONES, ONES[:, 0] * 4, share=0.0),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_a_batch_that_does_not_count_has_no_examples_and_no_tokens(kind):
    batch = BATCHES[kind]
    assert (batch.num_examples, int(batch.num_tokens)) == (3, 12)
    repeated = batch._replace(counts=False)
    assert (repeated.num_examples, int(repeated.num_tokens)) == (0, 0)


@pytest.mark.parametrize("kind", BATCHES)
def test_half_precision_does_not_round_a_share(kind):
    """As a tensor 1/3 would become 0.333984 in bfloat16, 0.2 % too much of every gradient."""
    moved = HalfPrecision("bf16-true").convert_input(BATCHES[kind]._replace(share=1 / 3))
    assert moved.share == 1 / 3


def slope(loss, **settings):
    loss = loss.requires_grad_()
    part_of_step(loss, **settings).backward()
    return loss.grad


@pytest.mark.parametrize("share", [1.0, 1 / 3, 7 / 64, 0.0])
def test_the_part_of_a_step_is_the_plain_product_to_the_bit(share):
    for value in torch.randn(100).exp():
        assert part_of_step(value, share=share, accumulate=3) == value * share * 3
        assert slope(value.clone(), share=share, accumulate=3) == torch.ones(()) * 3 * share


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("share", [1.0, 0.0])
def test_a_loss_that_is_not_finite_has_no_finite_slope(value, share):
    assert torch.isnan(slope(torch.tensor(value), share=share, accumulate=1))


def test_an_infinite_cross_entropy_spoils_the_gradient_that_ranks_add_up():
    """Its own gradient is finite, so a rank that sees only the sum would take the step and the others would not."""
    logits = torch.tensor([[-float("inf"), 0.0]], requires_grad=True)
    loss = F.cross_entropy(logits, torch.tensor([0]))
    assert torch.isinf(loss)
    assert torch.isfinite(torch.autograd.grad(loss, logits, retain_graph=True)[0]).all()
    part_of_step(loss, share=1.0, accumulate=1).backward()
    assert torch.isnan(logits.grad).any()


def test_an_epoch_s_loss_is_the_mean_over_all_ranks_and_leaves_the_sums_alone():
    """The sums are also in checkpoints, by reference."""
    ranks = [RunningLoss(), RunningLoss()]
    ranks[0].add(torch.tensor(2.0), count=6)
    ranks[1].add(torch.tensor(4.0), count=2)
    other, before = ranks[1].epoch, ranks[0].epoch

    def add_up(own, *, reduce_op):
        assert reduce_op == "sum"
        return own.add_(other)

    assert ranks[0].take_epoch(add_up) == 20 / 8
    assert before.tolist() == [12.0, 6.0]


def measured(parts, num_classes):
    """What one process makes of batches, each with or without `counts`."""
    metrics = ClassificationMetrics(num_classes)
    for probabilities, labels, loss, counts in parts:
        metrics.update(probabilities, labels, loss, counts=counts)
    return metrics


@pytest.mark.parametrize("num_classes", [2, 3])
def test_metrics_over_two_ranks_are_those_of_one_process_to_the_bit(num_classes):
    """Three batches: the second rank has one of them, and repeats a row that must not count."""
    random = torch.Generator().manual_seed(0)
    parts = []
    for rows in (8, 8, 5):
        probabilities = torch.rand(rows, num_classes, generator=random).softmax(-1)
        labels = torch.randint(num_classes, (rows,), generator=random)
        parts.append((probabilities, labels, torch.rand((), generator=random), True))
    repeated = (parts[0][0][:1], parts[0][1][:1], torch.tensor(9.0), False)
    one, counts = measured(parts, num_classes).finish(lambda rows: rows)
    first, second = measured(parts[::2], num_classes), measured([parts[1], repeated], num_classes)
    kept = [[torch.cat(part) for part in list(zip(*rank.kept, strict=True))[:2]] for rank in (first, second)]
    losses = [torch.stack([loss for _, _, loss in rank.kept]) for rank in (first, second)]
    answers = iter([torch.cat([kept[0][i], kept[1][i]]) for i in (0, 1)] + [torch.cat(losses)])
    both, both_counts = first.finish(lambda rows: next(answers))
    assert both == one
    assert both_counts.tolist() == counts.tolist()
    assert int(counts.sum()) == 21


def test_the_mean_loss_is_added_up_in_the_order_of_one_process():
    """float32, one after the other, as Lightning's own mean over an epoch; another order gives other last digits."""
    sums = torch.tensor(np.random.RandomState(0).rand(400), dtype=torch.float32)
    running = torch.zeros(())
    for value in sums:
        running = running + value
    for ranks in (1, 2, 4):
        of_ranks = torch.stack([sums[rank::ranks] for rank in range(ranks)])
        assert mean_loss(of_ranks, 1001) == running / torch.tensor(1001)
    assert sums.view(2, -1).sum(1).sum() != running  # so the order is seen


def test_ranks_draw_different_numbers_and_the_first_those_of_one_process():
    seeds = {step_seed(seed=s, epoch=e, batch=b, rank=r) for s in range(2) for e in range(3) for b in range(9)
             for r in range(8)}  # fmt: skip
    assert len(seeds) == 2 * 3 * 9 * 8
    assert step_seed(seed=3, epoch=1, batch=4, rank=0) == step_seed(seed=3, epoch=1, batch=4)


@pytest.mark.parametrize(("world", "readers"), [(1, 1), (4, 4), (4, 2)])
def test_counts_of_all_ranks_hold_those_that_read_the_same_once(world, readers):
    strategy = SimpleNamespace(reduce=lambda counted, reduce_op: counted * world)
    kwargs = {"num_replicas": readers, "rank": 0}
    trainer = SimpleNamespace(world_size=world, strategy=strategy, distributed_sampler_kwargs=kwargs)
    assert int(over_ranks(trainer, torch.tensor(10))) == 10 * readers
