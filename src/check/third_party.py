"""What constructors of other packages accept but do not say in their signatures: these types replace theirs."""

from typing import Annotated, Any, Literal


class Part:
    """Stands in a union for: a nested `_target_` is legal too."""


Count = Annotated[int, ">= 0"]
Positive = Annotated[int, ">= 1"]
NotNegative = Annotated[float, ">= 0"]
# Lightning's batch limits: a whole number counts batches, a fraction is that share of them.
Limit = Count | Annotated[float, ">= 0, <= 1"]
Share = Annotated[float, ">= 0, < 1"]

OPTIMIZER: dict[str, Any] = {"lr": NotNegative, "weight_decay": NotNegative}
ADAM: dict[str, Any] = {**OPTIMIZER, "betas": tuple[Share, Share], "eps": NotNegative}

STRICTER: dict[str, dict[str, Any]] = {
    "torch.optim.SGD": {**OPTIMIZER, "momentum": NotNegative},
    "torch.optim.Adam": ADAM,
    "torch.optim.AdamW": ADAM,
    "lightning.Trainer": {
        "accelerator": Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"],
        "devices": Positive | Literal[-1, "auto"] | list[Count],
        "num_nodes": Positive,
        "precision": Literal["auto", "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true"],
        "max_epochs": Annotated[int, ">= -1"] | None,
        "min_epochs": Count | None,
        "max_steps": Annotated[int, ">= -1"],
        "min_steps": Count | None,
        "limit_train_batches": Limit | None,
        "limit_val_batches": Limit | None,
        "limit_test_batches": Limit | None,
        "limit_predict_batches": Limit | None,
        "overfit_batches": Limit,
        "val_check_interval": Positive | Annotated[float, "> 0, <= 1"] | None,
        "check_val_every_n_epoch": Positive | None,
        "num_sanity_val_steps": Annotated[int, ">= -1"] | None,
        "log_every_n_steps": Count | None,
        "accumulate_grad_batches": Positive,
        "gradient_clip_val": NotNegative | None,
        "gradient_clip_algorithm": Literal["norm", "value"] | None,
        "fast_dev_run": bool | Count,
        "profiler": Literal["simple", "advanced", "pytorch"] | Part | None,
        "reload_dataloaders_every_n_epochs": Count,
    },
    "lightning.pytorch.callbacks.EarlyStopping": {
        "mode": Literal["min", "max"],
        "patience": Count,
        "min_delta": NotNegative,
    },
    "lightning.pytorch.callbacks.Timer": {"interval": Literal["step", "epoch"]},
    "lightning.pytorch.callbacks.EMAWeightAveraging": {"decay": Annotated[float, ">= 0, <= 1"]},
    "lightning.pytorch.loggers.CSVLogger": {"flush_logs_every_n_steps": Positive},
}

# Where a constructor's **kwargs end up: the names that are legal beside its own.
KEYWORDS_OF = {
    "lightning.pytorch.loggers.WandbLogger": ("wandb", "init"),
    "lightning.pytorch.loggers.TensorBoardLogger": ("torch.utils.tensorboard", "SummaryWriter"),
    "lightning.pytorch.profilers.PyTorchProfiler": ("torch.profiler", "profile"),
}
