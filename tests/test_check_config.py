"""A whole config against the signatures, with a small tree whose every mistake is known."""

import copy
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from src.check.config import check_config
from src.check.sections import Accumulation, Paths
from src.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Root:
    seed: Annotated[int, ">= 0"]
    mode: Literal["min", "max"] = "min"
    tags: list[str] = field(default_factory=list)
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    trainer: dict[str, Any]
    callbacks: dict[str, Any]
    logger: dict[str, Any]
    paths: Paths
    accumulation: Accumulation = field(default_factory=Accumulation)


CONFIG: dict[str, Any] = {
    "seed": 0,
    "tags": ["a"],
    "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 1e-3, "betas": [0.9, 0.999], "fused": None},
    "schedule": {"_target_": "src.schedule.warmup_cosine.warmup_cosine", "_partial_": True, "warmup": 0.05},
    "trainer": {"_target_": "lightning.Trainer", "max_epochs": 3, "devices": [0], "precision": "32-true"},
    "callbacks": {"stop": {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/loss"}, "no": None},
    "logger": {"csv": {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": "outputs"}},
    "paths": {"output_dir": "outputs", "cache_dir": "outputs/cache", "run_dir": None},
    "accumulation": {"tokens": 51200},
}
GONE = object()
TIMER, WANDB = "lightning.pytorch.callbacks.Timer", "lightning.pytorch.loggers.WandbLogger"
AVERAGE = "lightning.pytorch.callbacks.EMAWeightAveraging"
NETWORK = "src.model.bilstm.BiLSTM"


def changed(key: str, value: Any) -> dict[str, Any]:
    """CONFIG with one dotted key set, or taken out with GONE."""
    config = copy.deepcopy(CONFIG)
    node, names = config, key.split(".")
    for name in names[:-1]:
        node = node[name]
    if value is GONE:
        del node[names[-1]]
    else:
        node[names[-1]] = value
    return config


def refusal(key: str, value: Any) -> str:
    with pytest.raises(UserError) as caught:
        check_config(changed(key, value), root=Root)
    return str(caught.value)


def test_the_config_that_the_mistakes_start_from_is_fine() -> None:
    check_config(copy.deepcopy(CONFIG), root=Root)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer.lr", 1),
        ("optimizer.fused", True),
        ("optimizer.amsgrad", True),
        ("trainer.devices", "auto"),
        ("trainer.max_time", "00:12:00:00"),
        ("trainer.profiler", {"_target_": "lightning.pytorch.profilers.SimpleProfiler"}),
        ("trainer.limit_train_batches", 5),
        ("callbacks", {}),
        ("logger", {}),
        ("accumulation", GONE),
        ("callbacks.clock", {"_target_": TIMER, "duration": {"hours": 1}}),
        ("callbacks.mean", {"_target_": AVERAGE, "decay": 0.9, "use_buffers": False}),
        ("callbacks.stop._convert_", "all"),
        ("callbacks.stop", {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "_args_": ["val/loss", 0.1]}),
        ("logger.board", {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "save_dir": "x", "flush_secs": 3}),
        ("logger.wandb", {"_target_": WANDB, "project": "p", "group": "g", "tags": ["t"]}),
    ],
)  # fmt: skip
def test_what_the_constructors_take_passes(key: str, value: Any) -> None:
    check_config(changed(key, value), root=Root)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("sed", 1, "sed (1) is not a setting of this config; did you mean seed?"),
        ("seed", True, "seed (true) must be a whole number >= 0."),
        ("seed", GONE, "seed is missing"),
        ("mode", "mix", "mode (mix) must be one of min, max; did you mean mode=min?"),
        ("optimizer.lrr", 1, "optimizer.lrr (1) is not a setting of torch.optim.Adam; did you mean optimizer.lr?"),
        ("optimizer.lr", "abc", "optimizer.lr (abc) must be a number >= 0."),
        ("optimizer.lr", None, "optimizer.lr (null) must be a number"),
        ("optimizer.lr", float("nan"), "optimizer.lr (nan) must be a finite number."),
        ("optimizer.betas", [0.9, float("inf")], "optimizer.betas[1] (inf) must be a finite number."),
        ("optimizer.betas", [0.9], "optimizer.betas ([0.9]) must be a list of 2"),
        ("optimizer.lr", {"_target_": "torch.optim.SGD"}, "optimizer.lr ({'_target_': 'torch.optim.SGD'}) must be"),
        ("optimizer._partial_", "yes", "optimizer._partial_ (yes) must be true or false."),
        ("optimizer._partial_", False, "optimizer.params is missing"),
        ("optimizer._convert_", "every", "optimizer._convert_ (every) must be one of none, partial, object, all."),
        ("optimizer._target_", GONE, "must be a part and needs optimizer._target_"),
        ("optimizer._target_", NETWORK, f"optimizer._target_ ({NETWORK}) must begin with torch.optim."),
        ("optimizer", None, "optimizer (null) must be a part"),
        ("schedule.warmup", -1, "schedule.warmup (-1) must be a number >= 0."),
        ("schedule", GONE, "schedule is missing"),
        ("trainer.max_epochs", 2.5, "trainer.max_epochs (2.5) must be a whole number >= -1 or null."),
        ("trainer.precision", "bf16", "trainer.precision (bf16) must be one of auto, 32-true"),
        ("trainer.precison", "bf16", "did you mean trainer.precision?"),
        ("trainer.callbacks", [], "trainer.callbacks ([]) is given by the run itself; leave it out."),
        ("callbacks.stop.monitor", GONE, "callbacks.stop.monitor is missing"),
        ("callbacks.stop._target_", GONE, "callbacks.stop"),
        ("callbacks.check", {"monitor": "val/loss"}, "needs callbacks.check._target_; it has monitor."),
        ("callbacks.check", {}, "needs callbacks.check._target_; it has nothing."),
        ("callbacks.check", "EarlyStopping", "callbacks.check (EarlyStopping) must be a part"),
        ("callbacks.check", {"_target_": "torch.optim.SGD"}, "_target_ (torch.optim.SGD) must begin with"),
        ("callbacks", None, "callbacks (null) must be a mapping"),
        ("callbacks", [{"_target_": TIMER}], "must be a mapping of names to parts"),
        ("callbacks", {"_target_": TIMER}, "must be a mapping of names to parts"),
        ("logger.wandb", {"_target_": WANDB, "projct": 1}, "did you mean logger.wandb.project?"),
        ("logger.csv.save_dir", None, "logger.csv.save_dir (null) must be text."),
        ("paths.out_dir", "x", "paths.out_dir (x) is not a setting of paths; did you mean paths.output_dir?"),
        ("paths.cache_dir", GONE, "paths.cache_dir is missing"),
        ("accumulation.tokens", 0, "accumulation.tokens (0) must be a whole number >= 1."),
        ("accumulation.token", 1, "did you mean accumulation.tokens?"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_this_sentence(key: str, value: Any, sentence: str) -> None:
    message = refusal(key, value)
    assert sentence in message
    assert "!" not in message
    assert "\n" not in message


def test_a_plain_number_never_comes_from_a_part() -> None:
    assert "optimizer.eps" in refusal("optimizer.eps", {"_target_": "torch.optim.SGD", "_partial_": True})


def test_the_arguments_of_a_config_stay_as_they_were() -> None:
    config = copy.deepcopy(CONFIG)
    check_config(config, root=Root)
    assert config == CONFIG


@pytest.mark.parametrize(
    ("change", "modules"),
    [
        ("config['sed'] = 1", "torch lightning wandb"),
        ("config['seed'] = 'abc'", "torch lightning wandb"),
        ("config['optimizer']['lr'] = float('nan')", "torch lightning wandb"),
        ("config['model'] = {'_target_': 'torch.load'}", "torch lightning wandb"),
        ("config['callbacks'] = {'x': {}}", "torch lightning wandb"),
        ("config['optimizer']['lrr'] = 1", "lightning wandb"),
        ("config['optimizer']['lr'] = 'abc'", "lightning wandb"),
    ],
)
def test_a_mistake_is_refused_before_these_are_imported(change: str, modules: str) -> None:
    """torch takes 1.7 s to import and lightning 5 s; a refusal that does not need them does not wait for them."""
    script = f"""
        import sys
        from src.check.config import check_config
        from src.errors import UserError
        def root(*, seed: int, optimizer: dict, trainer: dict, callbacks: dict = None): pass
        config = {{"seed": 0, "optimizer": {{"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1}},
                   "trainer": {{"_target_": "lightning.Trainer"}}, "callbacks": {{}}}}
        {change}
        try:
            check_config(config, root=root)
        except UserError:
            print([name for name in {modules.split()} if name in sys.modules])
    """
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
