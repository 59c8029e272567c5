"""The exponential moving average of the weights; see src/callbacks/averaging.py for what becomes of it."""

from typing import Annotated

import lightning

from src.callbacks.averaging import Averaging


class ExponentialMovingAverage(Averaging):
    """a = d a + (1 - d) w after each optimizer step, from the first weights on.

    Args:
        decay: d; 0.998 looks back about 1 / (1 - d) = 500 steps.
        warmup: d = min(decay, (1 + n) / (10 + n)) at the n-th update, so that the first weights are soon forgotten; as
            in tf.train.ExponentialMovingAverage with num_updates.
    """

    def __init__(self, *, decay: Annotated[float, ">= 0, < 1"] = 0.998, warmup: bool = True) -> None:
        super().__init__()
        self.decay, self.warmup = decay, warmup

    def share(self, trainer: lightning.Trainer, *, epoch_ends: bool) -> float | None:
        number = self.updates + 1
        return 1 - (min(self.decay, (1 + number) / (10 + number)) if self.warmup else self.decay)
