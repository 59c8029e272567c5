"""What `self.log` holds of an epoch under way, which Lightning leaves out of its checkpoints."""

from typing import Any

import lightning
import torch

SETTINGS = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx")
STATE = ("value", "cumulated_batch_size", "_forward_cache")


def logged_so_far(trainer: lightning.Trainer) -> list[dict[str, Any]]:
    """Every number logged in this epoch: loggers write its last value again, and at the end perhaps its mean.

    torchmetrics that were logged themselves are left out: their state is the task's to keep.
    """
    kept = []
    for metric in trainer.fit_loop.epoch_loop._results.result_metrics:
        meta = metric.meta
        if (
            metric.is_tensor
            and not metric.has_reset
            and meta.reduce_fx in (torch.mean, torch.sum, torch.min, torch.max)
        ):
            settings = {name: getattr(meta, name) for name in SETTINGS}
            settings |= {"sync_dist": meta.sync.should, "rank_zero_only": meta.sync.rank_zero_only}
            state = {name: vars(metric)[name] for name in STATE if name in vars(metric)}
            kept.append({"settings": {**settings, "reduce_fx": meta.reduce_fx.__name__}, "state": state})
    return sorted(kept, key=lambda entry: (entry["settings"]["fx"], entry["settings"]["name"]))


def log_again(trainer: lightning.Trainer, kept: list[dict[str, Any]]) -> None:
    """Put them back, in a batch that is not the first of its epoch; each rank gets what rank 0 had."""
    results, device = trainer.fit_loop.epoch_loop._results, trainer.strategy.root_device
    for entry in kept:
        settings, state = entry["settings"], entry["state"]
        value = state["value"].to(device)
        results.log(**settings, value=value, batch_size=1, sync_dist_fn=trainer.strategy.reduce)
        metric = results[f"{settings['fx']}.{settings['name']}"]
        for name, saved in state.items():
            setattr(metric, name, saved if saved is None else saved.to(device))
    # Lightning forgets what a hook has logged before when it logs in the first batch of an epoch.
    trainer._logger_connector._first_loop_iter = False
