"""Between backward and the optimizer step: the gradient is judged, its norm logged, and then clipped."""

import lightning
from torch import Tensor, zeros_like
from torch.optim import Optimizer

from src.strategy.apply import clips_itself
from src.task.gradients import clip, total_norm
from src.task.non_finite import NonFiniteGuard, skips_on_device

SCALED = "16-mixed"


def judge_and_clip(
    task: lightning.LightningModule,
    guard: NonFiniteGuard,
    *,
    loss: Tensor,
    optimizer: Optimizer,
    limit: float | None,
    algorithm: str | None,
) -> None:
    """The norm is computed once for all three; loss () of the whole optimizer step.

    limit, algorithm: trainer.gradient_clip_val (None = no clipping) and gradient_clip_algorithm ("norm" or "value").

    Raises:
        Diverged: the guard says so.
    """
    trainer, step = task.trainer, task.global_step
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    parameters = [p for p in task.parameters() if p.grad is not None]
    norm = total_norm(parameters)
    judged = norm
    if trainer.precision == SCALED:
        # An overflowing gradient is how the loss scaler finds its scale, and it skips that step itself. So only the
        # loss is judged, and it takes a word between the ranks, who read one another's from the gradient elsewhere.
        loss, judged = trainer.strategy.reduce(loss, reduce_op="mean"), zeros_like(loss)
    if judged_on_device(task, loss, optimizer):
        guard.defer(loss=loss, gradient_norm=judged, step=step, optimizer=optimizer)
        if every and (step + 1) % every == 0:
            guard.read()
    else:
        guard.inspect(loss=loss.item(), gradient_norm=judged.item(), step=step, optimizer=optimizer)
    if every and step % every == 0:
        task.log("train/gradient_norm", norm)
    if limit is not None and not clips_itself(trainer.strategy):
        clip(parameters, limit, norm, algorithm=algorithm)


def judged_on_device(task: lightning.LightningModule, loss: Tensor, optimizer: Optimizer) -> bool:
    """Whether the step is judged on the device: on a GPU, with an optimizer whose kernel can leave it out.

    The scaler of fp16 sets and deletes the optimizer's `found_inf` itself, and waits for the device at every step.
    """
    return loss.device.type == "cuda" and task.trainer.precision != SCALED and skips_on_device(optimizer)
