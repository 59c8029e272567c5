"""Language modelling as a Lightning task: each token foretold from those before it in its document."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from src.data.block import Block
from src.errors import UserError
from src.optimizer.groups import Decay
from src.strategy.apply import shard_network
from src.task.clipping import judge_and_clip
from src.task.linear_cross_entropy import Loss, linear_cross_entropy
from src.task.non_finite import NonFiniteGuard
from src.task.objective import part_of_step
from src.task.optimization import optimizer_and_schedule
from src.task.perplexity import Perplexity
from src.task.running_loss import RunningLoss


@runtime_checkable
class Continues(Protocol):
    """A network that foretells text: hidden states (B, T, D), and the (V, D) matrix that makes logits of them."""

    def hidden(self, ids: Tensor, *, documents: Tensor | None = None) -> Tensor: ...

    @property
    def output_weight(self) -> Tensor: ...


class LanguageModel(lightning.LightningModule):
    """Negative log-likelihood of `targets` under the network's logits, which are never all there at once.

    Args:
        network: see Continues; src.model.transformer.Transformer is one.
        optimizer: parameter groups to a torch optimizer.
        schedule: `schedule(optimizer, total_steps=...)` to Lightning's scheduler entry.
        decay: weight decay on "matrices" only, on those that are "no_embeddings", or on "all" parameters.
        z_loss: weight of log-sum-exp squared, which keeps logits from drifting; trained on, but in no metric.
        loss_chunk: tokens whose logits exist at once.
        non_finite: "stop" raises Diverged on a NaN or infinite loss or gradient, "skip" leaves that step out.

    Raises:
        UserError: the network is no language model.
    """

    guard: NonFiniteGuard

    def __init__(
        self,
        *,
        network: nn.Module,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., dict[str, Any]],
        decay: Decay = "matrices",
        z_loss: Annotated[float, ">= 0"] = 0.0,
        loss_chunk: Annotated[int | None, ">= 1"] = None,
        non_finite: Literal["stop", "skip"] = "stop",
        max_skips: Annotated[int, ">= 1"] = 10,
    ) -> None:
        super().__init__()
        if not isinstance(network, Continues):
            raise UserError(
                f"model ({type(network).__name__}) is no language model, and task=language_model trains nothing else; "
                "choose model=transformer_tiny or another transformer that continues text."
            )
        self.network: Any = network
        self.make_optimizer = optimizer
        self.make_schedule = schedule
        self.decay: Decay = decay
        self.z_loss, self.loss_chunk = z_loss, loss_chunk
        self.guard = NonFiniteGuard(policy=non_finite, max_skips=max_skips)
        self.val_perplexity = Perplexity()
        self.test_perplexity = Perplexity()
        self.running_loss = RunningLoss(dtype=torch.float64)

    def forward(self, batch: Block) -> Loss:
        """Sums over the counted targets of a batch."""
        hidden = self.network.hidden(batch.ids, documents=batch.documents)
        return linear_cross_entropy(
            hidden.flatten(0, 1),
            self.network.output_weight,
            batch.targets.flatten(),
            chunk=self.loss_chunk,
            z_loss=self.z_loss,
        )

    def training_step(self, batch: Block, batch_index: int) -> Tensor:
        """Mean loss per counted target, scaled so that accumulation gives the mean over all of the window.

        `share` is this one's part of the window's counted targets on all ranks.
        """
        loss, count = self(batch), batch.num_tokens
        least_one = count.clamp(min=1)
        self.running_loss.add(loss.nll / least_one, count=count)
        accumulate = self.trainer.accumulate_grad_batches
        return part_of_step(loss.objective / least_one, share=batch.share, accumulate=accumulate)

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
        """train/loss: mean over the counted targets of the epoch, dropout on, weights as they were at each step."""
        self.guard.read()
        self.log("train/loss", self.running_loss.take_epoch(self.trainer.strategy.reduce))

    def validation_step(self, batch: Block, batch_index: int) -> None:
        self._measure(self.val_perplexity, batch)

    def test_step(self, batch: Block, batch_index: int) -> None:
        self._measure(self.test_perplexity, batch)

    def _measure(self, perplexity: Perplexity, batch: Block) -> None:
        perplexity.update(self(batch).nll * batch.counts, batch.num_tokens, batch.num_bytes * batch.counts)

    def on_validation_epoch_end(self) -> None:
        self._report("val", self.val_perplexity)

    def on_test_epoch_end(self) -> None:
        self._report("test", self.test_perplexity)

    def _report(self, split: str, perplexity: Perplexity) -> None:
        self.log_dict({f"{split}/{name}": value for name, value in perplexity.compute().items()})
        perplexity.reset()

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
