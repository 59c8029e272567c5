"""Classification as a Lightning task: the five steps, clipping, and metrics over whole splits."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import lightning
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import Optimizer

from src.data.batch import Batch
from src.optimizer.groups import decay_groups
from src.task.metrics import ClassificationMetrics
from src.task.non_finite import NonFiniteGuard, gradient_norm


class Classifier(lightning.LightningModule):
    """Cross-entropy of `network(ids, lengths)` against the labels.

    Lightning runs the recipe: forward and loss are `training_step`, then backward, then the optimizer step (the
    gradient judged and clipped just before), then the gradients are zeroed.

    Args:
        network: (B, T) ids and (B,) lengths to (B, C) logits.
        optimizer: parameter groups to a torch optimizer.
        schedule: `schedule(optimizer, total_steps=...)` to Lightning's scheduler entry.
        decay: weight decay on "matrices" only, or on "all" parameters.
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
        decay: Literal["matrices", "all"] = "matrices",
        non_finite: Literal["stop", "skip"] = "stop",
        max_skips: Annotated[int, ">= 1"] = 10,
    ) -> None:
        super().__init__()
        self.network = network
        self.make_optimizer = optimizer
        self.make_schedule = schedule
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.decay = decay
        self.guard = NonFiniteGuard(policy=non_finite, max_skips=max_skips)
        self.val_metrics = ClassificationMetrics(num_classes)
        self.test_metrics = ClassificationMetrics(num_classes)
        self.confusion_counts: dict[str, torch.Tensor] = {}  # of the last evaluation of each split, (C, C)
        self.epoch_loss = torch.zeros(2)  # sum of the losses and number of examples of this epoch
        self.window_loss = torch.zeros(())  # loss of the optimizer step being accumulated

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (B, C)."""
        return self.network(batch.ids, batch.lengths)

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Mean cross-entropy of the micro-batch, scaled so that accumulation gives the mean over all examples.

        Lightning divides by the number of micro-batches; `share` is this one's part of the examples of the whole
        window, so unequal micro-batches weigh by their examples and not by one each.
        """
        loss = F.cross_entropy(self(batch), batch.labels, label_smoothing=self.label_smoothing)
        self._remember(loss.detach(), count=len(batch.labels))
        return loss * batch.share * self.trainer.accumulate_grad_batches

    def _remember(self, loss: torch.Tensor, *, count: int) -> None:
        """Add to the running sums, on the device: no step waits for the host."""
        finite = torch.isfinite(loss)
        self.window_loss = self.window_loss.to(loss.device) + loss
        # A step left out by non_finite=skip is left out of the epoch's mean as well.
        row = torch.stack((torch.where(finite, loss * count, 0.0), finite * float(count)))
        self.epoch_loss = self.epoch_loss.to(loss.device) + row

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Judge the gradient, log its norm, clip it; the norm is computed once for all three."""
        parameters = [p for p in self.parameters() if p.grad is not None]
        norm = gradient_norm(parameters)
        # With fp16 an overflowing gradient is how the loss scaler finds its scale, and it skips that step itself.
        judged = torch.zeros(()) if self.trainer.precision == "16-mixed" else norm
        self.guard.inspect(
            loss=self.window_loss.item(), gradient_norm=judged.item(), step=self.global_step, optimizer=optimizer
        )
        self.window_loss = torch.zeros(())
        if self.global_step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log("train/gradient_norm", norm)
        if gradient_clip_val is None:
            return
        if gradient_clip_algorithm == "value":
            nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        else:
            nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def on_train_epoch_start(self) -> None:
        self.epoch_loss = torch.zeros(2)

    def on_train_epoch_end(self) -> None:
        """train/loss: mean over the examples of the epoch, dropout on, weights as they were at each step."""
        total, count = self.epoch_loss.tolist()
        self.log("train/loss", total / count if count else float("nan"))

    def validation_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Probabilities (B, C), float32."""
        return self._measure("val", self.val_metrics, batch)

    def test_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Probabilities (B, C), float32."""
        return self._measure("test", self.test_metrics, batch)

    def _measure(self, split: str, metrics: ClassificationMetrics, batch: Batch) -> torch.Tensor:
        logits = self(batch)
        probabilities = logits.float().softmax(dim=-1)
        metrics.update(probabilities, batch.labels)
        loss = F.cross_entropy(logits, batch.labels)
        # Lightning weighs the mean by batch_size, so a short last batch counts by its examples.
        self.log(f"{split}/loss", loss, batch_size=len(batch.labels), on_epoch=True, sync_dist=True)
        return probabilities

    def on_validation_epoch_end(self) -> None:
        self._report("val", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        self._report("test", self.test_metrics)

    def _report(self, split: str, metrics: ClassificationMetrics) -> None:
        values, self.confusion_counts[split] = metrics.finish()
        self.log_dict({f"{split}/{name}": value for name, value in values.items()})

    def configure_optimizers(self) -> Any:
        """The optimizer over its parameter groups and the schedule over the run's optimizer steps."""
        groups = decay_groups(self.network) if self.decay == "matrices" else list(self.network.parameters())
        optimizer = self.make_optimizer(groups)
        total_steps = int(self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": self.make_schedule(optimizer, total_steps=total_steps)}
