"""Lets loggers go on at the place where a run begins, which may lie behind what a killed process has logged."""

from typing import Any

import lightning
from lightning.pytorch.loggers import TensorBoardLogger

from src.logger.csv import MetricsFile
from src.logger.wandb import Wandb


def continue_logs(trainer: lightning.Trainer, *, step: int, resumed: bool) -> None:
    """Forget what was logged from `step` on; W&B itself ignores the steps that it has when they come again."""
    for logger in trainer.loggers if trainer.is_global_zero else []:
        if isinstance(logger, MetricsFile | Wandb):
            logger.cut(step=step)
        elif isinstance(logger, TensorBoardLogger) and resumed:
            logger.experiment.close()  # the file that is opened next begins by declaring the rest void
            logger.experiment.purge_step = step


def close_loggers(trainer: lightning.Trainer, result: dict[str, Any]) -> None:
    """Log the test metrics of a run whose folder has all results, and end every logger."""
    tested = {key: value for key, value in result.items() if key.startswith("test/")}
    for logger in trainer.loggers:
        logger.log_metrics(tested, step=trainer.global_step)
        logger.finalize("success")
        if isinstance(logger, Wandb):
            logger.conclude()
