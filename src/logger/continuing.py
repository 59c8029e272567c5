"""Lets loggers go on at the place where a run begins, which may lie behind what a killed process has logged."""

import lightning
from lightning.pytorch.loggers import TensorBoardLogger

from src.logger.csv import MetricsFile


def continue_logs(trainer: lightning.Trainer, *, step: int, resumed: bool) -> None:
    """Forget what was logged from `step` on. W&B cannot: there the steps that are taken again stand twice."""
    for logger in trainer.loggers if trainer.is_global_zero else []:
        if isinstance(logger, MetricsFile):
            logger.cut(step=step)
        elif isinstance(logger, TensorBoardLogger) and resumed:
            logger.experiment.close()  # the file that is opened next begins by declaring the rest void
            logger.experiment.purge_step = step
