"""Classification as a Lightning task: the five steps, clipping, and metrics over whole splits."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import lightning
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import Optimizer

from src.data.batch import Batch
from src.optimizer.groups import Decay
from src.strategy.apply import shard_network
from src.task.adversarial import adversarial_loss
from src.task.clipping import judge_and_clip
from src.task.gathering import gather
from src.task.metrics import ClassificationMetrics
from src.task.non_finite import NonFiniteGuard
from src.task.objective import part_of_step
from src.task.optimization import optimizer_and_schedule
from src.task.running_loss import RunningLoss
from src.task.unfreezing import Unfreezing


class Classifier(lightning.LightningModule):
    """Cross-entropy of `network(ids, lengths)` against the labels.

    Lightning runs the recipe: forward and loss are `training_step`, then backward, then the optimizer step (the
    gradient judged and clipped just before), then the gradients are zeroed.

    Args:
        network: (B, T) ids and (B,) lengths to (B, C) logits.
        optimizer: parameter groups to a torch optimizer.
        schedule: `schedule(optimizer, total_steps=...)` to Lightning's scheduler entry.
        adversarial: half of the loss is that of the review whose embedding is moved this far the wrong way; 0 = none.
        decay: weight decay on "matrices" only, on those that are "no_embeddings", or on "all" parameters.
        layer_decay: the learning rate of each depth as a share of that of the depth above it.
        unfreeze_every: epochs until the next lower depth begins to learn; 0 = all learn from the start.
        non_finite: "stop" raises Diverged on a NaN or infinite loss or gradient, "skip" leaves that step out.
    """

    network: nn.Module
    guard: NonFiniteGuard

    def __init__(
        self,
        *,
        network: nn.Module,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., dict[str, Any]],
        num_classes: Annotated[int, ">= 2"] = 2,
        label_smoothing: Annotated[float, ">= 0, < 1"] = 0.0,
        adversarial: Annotated[float, ">= 0"] = 0.0,
        decay: Decay = "matrices",
        layer_decay: Annotated[float, "> 0, <= 1"] = 1.0,
        unfreeze_every: Annotated[float, ">= 0"] = 0.0,
        non_finite: Literal["stop", "skip"] = "stop",
        max_skips: Annotated[int, ">= 1"] = 10,
    ) -> None:
        super().__init__()
        self.network = network
        self.make_optimizer = optimizer
        self.make_schedule = schedule
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.adversarial = adversarial
        self.decay: Decay = decay
        self.layer_decay = layer_decay
        self.unfreezing = Unfreezing(network, every=unfreeze_every)
        self.guard = NonFiniteGuard(policy=non_finite, max_skips=max_skips)
        self.val_metrics = ClassificationMetrics(num_classes)
        self.test_metrics = ClassificationMetrics(num_classes)
        self.confusion_counts: dict[str, torch.Tensor] = {}  # of the last evaluation of each split, (C, C)
        self.running_loss = RunningLoss()

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (B, C)."""
        return self.network(batch.ids, batch.lengths)

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        if batch_index % self.trainer.accumulate_grad_batches == 0:
            self.unfreezing.update(self.trainer.current_epoch + batch_index / self.trainer.num_training_batches)

    def on_train_end(self) -> None:
        self.unfreezing.end()

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Mean cross-entropy of the micro-batch, scaled so that accumulation gives the mean over all examples.

        `share` is this one's part of the examples of the whole window on all ranks, so unequal micro-batches weigh by
        their examples and not by one each.
        """

        def loss_of(logits: torch.Tensor) -> torch.Tensor:
            # In bfloat16 the share would be rounded on its way back through the loss, for every example alike.
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            return F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)

        if self.adversarial:
            loss = adversarial_loss(self.network, batch.ids, batch.lengths, loss=loss_of, epsilon=self.adversarial)
        else:
            loss = loss_of(self(batch))
        self.running_loss.add(loss, count=batch.num_examples)
        return part_of_step(loss, share=batch.share, accumulate=self.trainer.accumulate_grad_batches)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Judge the gradient, log its norm, clip it."""
        loss, limit = self.running_loss.take_window(), gradient_clip_val
        judge_and_clip(self, self.guard, loss=loss, optimizer=optimizer, limit=limit, algorithm=gradient_clip_algorithm)

    def on_validation_start(self) -> None:
        """No checkpoint is made of a run that has diverged."""
        self.guard.read()

    def on_train_epoch_end(self) -> None:
        """train/loss: mean over the examples of the epoch, dropout on, weights as they were at each step."""
        self.guard.read()
        self.log("train/loss", self.running_loss.take_epoch(self.trainer.strategy.reduce))

    def validation_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Probabilities (B, C), float32."""
        return self._measure("val", self.val_metrics, batch)

    def test_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Probabilities (B, C), float32."""
        return self._measure("test", self.test_metrics, batch)

    def _measure(self, split: str, metrics: ClassificationMetrics, batch: Batch) -> torch.Tensor:
        logits = self(batch)
        probabilities = logits.float().softmax(dim=-1)
        metrics.update(probabilities, batch.labels, F.cross_entropy(logits, batch.labels), counts=batch.counts)
        return probabilities

    def on_validation_epoch_end(self) -> None:
        self._report("val", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        self._report("test", self.test_metrics)

    def _report(self, split: str, metrics: ClassificationMetrics) -> None:
        values, self.confusion_counts[split] = metrics.finish(partial(gather, trainer=self.trainer))
        self.log_dict({f"{split}/{name}": value for name, value in values.items()})

    def configure_model(self) -> None:
        """The network becomes this rank's part of it where the strategy divides weights."""
        shard_network(self)

    def configure_optimizers(self) -> Any:
        """The optimizer over its parameter groups and the schedule over the run's optimizer steps."""
        return optimizer_and_schedule(
            self.trainer,
            self.network,
            make_optimizer=self.make_optimizer,
            make_schedule=self.make_schedule,
            decay=self.decay,
            layer_decay=self.layer_decay,
        )
