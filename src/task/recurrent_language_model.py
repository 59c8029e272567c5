"""Language modelling in both reading directions as a Lightning task: trained by sampled softmax, measured exactly."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import lightning
import torch
from torch import Tensor
from torch.optim import Optimizer

from src.data.passages import WordBlock
from src.errors import UserError
from src.model.recurrent_lm import RecurrentLanguageModel
from src.optimizer.groups import Decay
from src.strategy.apply import shard_network
from src.task.clipping import judge_and_clip
from src.task.non_finite import NonFiniteGuard
from src.task.objective import part_of_step
from src.task.optimization import optimizer_and_schedule
from src.task.running_loss import RunningLoss
from src.task.sampled_softmax import correction, draw, full_loss, inclusion, sampled_loss


class BidirectionalLanguageModel(lightning.LightningModule):
    """Negative log-likelihood of each word given those before it, and given those behind it, in nats per word.

    Args:
        network: features and targets of both directions.
        optimizer: parameter groups to a torch optimizer.
        schedule: `schedule(optimizer, total_steps=...)` to Lightning's scheduler entry.
        num_samples: words in the mean that a training step tells the right one from; all of the vocabulary from
            vocab_size on. Each step draws its own.
        decay: weight decay on "matrices" only, on those that are "no_embeddings", or on "all" parameters.
        non_finite: "stop" raises Diverged on a NaN or infinite loss or gradient, "skip" leaves that step out.
    """

    network: RecurrentLanguageModel
    inclusion: Tensor
    correction: Tensor
    guard: NonFiniteGuard

    def __init__(
        self,
        *,
        network: RecurrentLanguageModel,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., dict[str, Any]],
        num_samples: Annotated[int, ">= 1"] = 1024,
        decay: Decay = "matrices",
        non_finite: Literal["stop", "skip"] = "stop",
        max_skips: Annotated[int, ">= 1"] = 10,
    ) -> None:
        super().__init__()
        if not isinstance(network, RecurrentLanguageModel):
            raise UserError(
                f"model ({type(network).__name__}) is no bidirectional language model, and task=bilstm_lm trains "
                "nothing else; choose model=bilstm_lm."
            )
        self.network = network
        self.make_optimizer = optimizer
        self.make_schedule = schedule
        self.decay: Decay = decay
        self.guard = NonFiniteGuard(policy=non_finite, max_skips=max_skips)
        probabilities = inclusion(network.bias.shape[0], num_samples)
        self.register_buffer("inclusion", probabilities, persistent=False)
        self.register_buffer("correction", correction(probabilities), persistent=False)
        self.running_loss = RunningLoss(dtype=torch.float64)
        self.totals = torch.zeros(
            3, dtype=torch.float64
        )  # of an evaluation: forward and reverse loss, targets per direction

    def training_step(self, batch: WordBlock, batch_index: int) -> Tensor:
        """Mean sampled loss per target, scaled so that accumulation gives the mean over all targets of the window."""
        sample = draw(self.inclusion)
        losses = self.network.score(batch.ids, batch.lengths, sampled_loss, sample, self.correction)
        count = 2 * (batch.lengths - 1).sum()
        loss = torch.stack(losses).sum() / count
        self.running_loss.add(loss, count=count * batch.counts)
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
        """train/sampled_loss: among the sample only, so it lies below val/loss and its level means nothing."""
        self.guard.read()
        self.log("train/sampled_loss", self.running_loss.take_epoch(self.trainer.strategy.reduce))

    def on_validation_epoch_start(self) -> None:
        self.totals = torch.zeros(3, dtype=torch.float64)

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: WordBlock, batch_index: int) -> None:
        """Add the exact losses of a batch; nothing is drawn."""
        forward, reverse = self.network.score(batch.ids, batch.lengths, full_loss)
        found = torch.stack((forward, reverse, (batch.lengths - 1).sum()))
        self.totals = self.totals.to(forward.device) + found * batch.counts

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self._report("val")

    def on_test_epoch_end(self) -> None:
        self._report("test")

    def _report(self, split: str) -> None:
        """loss is the mean of both directions, in nats per word; ppl = exp(loss)."""
        forward, reverse, count = self.trainer.strategy.reduce(self.totals, reduce_op="sum").tolist()
        loss = (forward + reverse) / (2 * count)
        values = {"loss": loss, "loss_forward": forward / count, "loss_reverse": reverse / count, "ppl": math.exp(loss)}
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
        )
