"""The loss of a micro-batch as its part of the loss of the optimizer step."""

from torch import Tensor


def part_of_step(loss: Tensor, *, share: float, accumulate: int) -> Tensor:
    """What to differentiate of the mean loss () of a micro-batch, so that the step's gradient is that of its mean.

    `share` weighs by rows or targets (src.data.sampler.Draw); Lightning divides by the number of micro-batches, which
    `accumulate` takes back.

    A loss that is not finite gets the slope NaN, also where its own would be finite, as that of an infinite
    cross-entropy is: the gradient that ranks add up then tells all of them what one of them saw, and they leave out or
    stop at the same step.
    """
    return loss * (1 + 0 * loss.detach()) * share * accumulate
