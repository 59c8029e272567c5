"""Combinations that are refused, each beside its nearest legal neighbour."""

import copy
import sys
from typing import Any

import pytest

from src.check import rules_averaging, rules_monitor, rules_strategy, rules_task, rules_trainer
from src.check.facts import ask
from src.check.rules import RULES, check_rules
from src.errors import UserError

FINE: dict[str, Any] = {
    "monitor": "val/loss",
    "monitor_mode": "min",
    "model": {"vocab_size": 5000, "pooling": "masked_mean", "num_classes": 2},
    "task": {"num_classes": 2},
    "data": {
        "vocab_size": 5000,
        "max_length": 200,
        "head": None,
        "label_names": ["neg", "pos"],
        "bucket_batches": 50,
        "pad_to_max_length": False,
    },
    "optimizer": {"lr": 1e-3, "fused": True},
    "schedule": {"warmup": 0.05},
    "trainer": {"accelerator": "auto", "devices": 1, "num_nodes": 1, "max_epochs": 8, "max_steps": -1,
                "precision": "32-true", "gradient_clip_val": 1.0, "limit_val_batches": None},
    "callbacks": {"stop": {"monitor": "val/loss", "mode": "min"}, "gone": None},
    "logger": {"csv": {"save_dir": "x"}},
    "accumulation": {"tokens": 51200},
}  # fmt: skip
LRM = {"rate": {"_target_": "lightning.pytorch.callbacks.LearningRateMonitor"}}
GPU = {"cuda": True, "bf16": True}
OLD_GPU = {"cuda": True, "bf16": False}
CPU = {"cuda": False, "bf16": False}

DDP = {"_target_": rules_strategy.DATA_PARALLEL}
ZERO1 = {**DDP, "shard_optimizer": True}
FSDP = {"_target_": rules_strategy.SHARDED}
SPLIT = {**FSDP, "tensor_parallel_size": 2}
DEEP = {"_target_": rules_strategy.DEEPSPEED, "stage": 2}
TWO = {"trainer.devices": 2, "trainer.num_nodes": 1}
LLAMA = {"model": {"_target_": rules_task.TRANSFORMER, "vocab_size": 5000, "num_heads": 4, "num_kv_heads": 1}}
MUON = {"optimizer._target_": rules_task.MUON, "model._target_": rules_task.TRANSFORMER}
SAMPLES = {"callbacks": {"samples": {"_target_": "src.callbacks.samples.Samples"}}}
UNFREEZING = {"task.unfreeze_every": 1, "model._target_": rules_task.TRANSFORMER_CLASSIFIER}
AVERAGE = {"callbacks": {"average": {"_target_": "lightning.pytorch.callbacks.EMAWeightAveraging"}}}
OUR_AVERAGES = {"callbacks": {"ema": {"_target_": rules_averaging.EMA}, "swa": {"_target_": rules_averaging.SWA}}}
HELD = {"callbacks": {"swa": {"_target_": rules_averaging.SWA, "lr": 0.01}}}

JOB = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "gpu_type": None, "time": "1:00:00", "signal_seconds": 120}
ON_CPU = {"trainer.accelerator": "cpu"}
COST = {"_target_": "src.evaluation.thresholds.Cost"}
THREE = {"model.num_classes": 3, "task.num_classes": 3, "data.label_names": ["a", "b", "c"]}

# Facts, changes, and the key the refusal begins with ("" = legal).
CASES: list[tuple[dict[str, bool], dict[str, Any], str]] = [
    (CPU, {}, ""),
    (GPU, {}, ""),
    (CPU, {"trainer.accelerator": "gpu"}, "trainer.accelerator"),
    (GPU, {"trainer.accelerator": "gpu"}, ""),
    (CPU, {"trainer.precision": "16-mixed", "optimizer.fused": False}, "precision=fp16"),
    (CPU, {"trainer.precision": "16-true"}, "precision=fp16"),
    (GPU, {"trainer.precision": "16-mixed", "optimizer.fused": False}, ""),
    (GPU, {"trainer.precision": "16-mixed", "trainer.accelerator": "cpu"}, "precision=fp16"),
    (GPU, {"trainer.precision": "16-mixed"}, "trainer.gradient_clip_val"),
    (GPU, {"trainer.precision": "16-mixed", "trainer.gradient_clip_val": None}, ""),
    (OLD_GPU, {"trainer.precision": "bf16-mixed"}, "trainer.precision"),
    (OLD_GPU, {"trainer.precision": "bf16-mixed", "trainer.accelerator": "cpu"}, ""),
    (GPU, {"trainer.precision": "bf16-mixed"}, ""),
    (CPU, {"trainer.precision": "bf16-mixed"}, ""),
    (CPU, {"task._target_": rules_task.LANGUAGE_MODEL, "model._target_": rules_task.BILSTM}, "task (LanguageModel)"),
    (CPU, {"task._target_": rules_task.LANGUAGE_MODEL, "model._target_": rules_task.TRANSFORMER,
           "data._target_": rules_task.TEXTS}, ""),
    (CPU, {"task._target_": rules_task.LANGUAGE_MODEL, "model._target_": rules_task.TRANSFORMER,
           "data._target_": rules_task.REVIEWS}, "task (LanguageModel)"),
    (CPU, {"task._target_": rules_task.LANGUAGE_MODEL, "monitor": "val/acc"}, "monitor"),
    (CPU, {"task.layer_decay": 0.8, "model._target_": rules_task.BILSTM}, "task.layer_decay"),
    (CPU, {"task.unfreeze_every": 1, "model._target_": rules_task.BILSTM}, "task.unfreeze_every"),
    (CPU, {"task.layer_decay": 0.8, "model._target_": rules_task.TRANSFORMER_CLASSIFIER}, ""),
    (CPU, {"optimizer._target_": rules_task.MUON, "model._target_": rules_task.BILSTM}, "optimizer=muon"),
    (CPU, {"optimizer._target_": rules_task.MUON, "model._target_": rules_task.TRANSFORMER}, ""),
    (CPU, {"model.max_length": 100}, "data.max_length"),
    (CPU, {"model.max_length": 200}, ""),
    (CPU, {"threshold": COST}, ""),
    (CPU, {"threshold": COST, "task._target_": rules_task.LANGUAGE_MODEL, "monitor": "val/loss"}, "threshold=cost"),
    (CPU, {"threshold": COST, **THREE}, "threshold=cost cuts between two classes and this is 3 classes"),
    (CPU, {"threshold": {"_target_": rules_task.F1}, **THREE}, ""),
    (CPU, {"schedule.warmup": 1.5}, "schedule.warmup (1.5)"),
    (CPU, {"schedule.warmup": 1000}, ""),
    (CPU, {"schedule.warmup": 1000, "trainer.max_steps": 999}, "schedule.warmup (1000)"),
    (CPU, {"schedule.warmup": 1000, "trainer.max_steps": 1000}, ""),
    (CPU, {"schedule.warmup": 9, "schedule.decay": 2, "trainer.max_steps": 10}, "schedule.warmup (9) and schedule.dec"),
    (CPU, {"schedule.warmup": 17, "trainer.limit_train_batches": 2}, "schedule.warmup (17)"),
    (CPU, {"schedule.warmup": 16, "trainer.limit_train_batches": 2}, ""),
    (CPU, {"schedule.warmup": 9, "trainer.limit_train_batches": 3, "trainer.accumulate_grad_batches": 3}, "schedule.w"),
    (CPU, {"schedule.warmup": 2, "trainer.fast_dev_run": True}, "schedule.warmup (2)"),
    (GPU, {"trainer.devices": 2}, "trainer.devices"),
    (GPU, {"trainer.devices": "auto"}, "trainer.devices"),
    (GPU, {"trainer.devices": -1}, "trainer.devices"),
    (GPU, {"trainer.devices": [0, 1]}, "trainer.devices"),
    (GPU, {"trainer.devices": [3]}, ""),
    (CPU, {"trainer.num_nodes": 2}, "trainer.num_nodes"),
    (CPU, {"trainer.max_epochs": -1}, "trainer.max_epochs"),
    (CPU, {"trainer.max_epochs": 0}, "trainer.max_epochs (0)"),
    (CPU, {"trainer.max_steps": 0}, "trainer.max_steps (0)"),
    (CPU, {"trainer.max_epochs": None}, "trainer.max_epochs"),
    (CPU, {"trainer.max_epochs": -1, "trainer.max_steps": 10}, ""),
    (CPU, {"trainer.min_epochs": 9}, "trainer.min_epochs"),
    (CPU, {"trainer.min_epochs": 8}, ""),
    (CPU, {"trainer.min_steps": 9, "trainer.max_steps": 8}, "trainer.min_steps"),
    (CPU, {"trainer.min_steps": 9}, ""),
    (CPU, {"optimizer.foreach": True}, "optimizer.fused"),
    (CPU, {"optimizer.foreach": False}, ""),
    (CPU, {"optimizer.nesterov": True}, "optimizer.nesterov"),
    (CPU, {"optimizer.nesterov": True, "optimizer.momentum": 0.9}, ""),
    (CPU, {"optimizer.nesterov": True, "optimizer.momentum": 0.9, "optimizer.dampening": 0.1}, "optimizer.nesterov"),
    (CPU, {"monitor": "val/los"}, "monitor (val/los)"),
    (CPU, {"monitor": "train/loss"}, "monitor (train/loss)"),
    (CPU, {"monitor": "val/f1"}, "monitor_mode (min) must be max"),
    (CPU, {"monitor": "val/f1", "monitor_mode": "max"}, ""),
    (CPU, {"monitor_mode": "max"}, "monitor_mode (max) must be min"),
    (CPU, {"callbacks.stop.monitor": "acc"}, "callbacks.stop.monitor (acc)"),
    (CPU, {"callbacks.stop.mode": "max"}, "callbacks.stop.mode"),
    (CPU, {"callbacks.stop": {"monitor": "val/acc"}}, "callbacks.stop.mode (min) must be max"),
    (CPU, {"schedule": {"monitor": "val/auroc", "mode": "max"}}, ""),
    (CPU, {"schedule": {"monitor": "val/aurok", "mode": "max"}}, "schedule.monitor (val/aurok)"),
    (CPU, {"trainer.limit_val_batches": 0}, "trainer.limit_val_batches"),
    (CPU, {"trainer.limit_val_batches": 0, "callbacks": {}}, ""),
    (CPU, {"callbacks": LRM, "logger": {}}, "callbacks.rate"),
    (CPU, {"callbacks": LRM, "logger": {"csv": None}}, "callbacks.rate"),
    (CPU, {"callbacks": LRM}, ""),
    (CPU, {"data.head": 200}, "data.head (200)"),
    (CPU, {"data.head": 199}, ""),
    (CPU, {"model.vocab_size": 4999}, "model.vocab_size (4999)"),
    (CPU, {"model.num_classes": 3}, "model.num_classes (3)"),
    (CPU, {"model.num_classes": 3, "task.num_classes": 3, "data.label_names": ["a", "b", "c"]}, ""),
    (CPU, {"data.label_names": ["a", "b", "c"]}, "model.num_classes (2) and task.num_classes (2) and data."),
    (CPU, {"accumulation": {"batches": 0}}, "accumulation.batches (0)"),
    (CPU, {"accumulation": {"batches": True}}, "accumulation.batches"),
    (CPU, {"accumulation": {"batches": 2, "tokens": 10}}, "accumulation.batches and accumulation.tokens"),
    (CPU, {"accumulation": {}}, ""),
    (CPU, {"data.pad_to_max_length": True}, "data.bucket_batches (50)"),
    (CPU, {"data.pad_to_max_length": True, "data.bucket_batches": 0}, ""),
    (CPU, {"model.pooling": "mean"}, "model.pooling (mean)"),
    (CPU, {"model.pooling": "mean", "data.pad_to_max_length": True, "data.bucket_batches": 0}, ""),
    (CPU, {"model.pooling": "mean_max"}, ""),
    (CPU, {"trainer.strategy": "ddp"}, "trainer.strategy (ddp)"),
    (CPU, {"trainer.strategy": {"_target_": rules_task.BILSTM}}, "trainer.strategy (src.model.bilstm.BiLSTM)"),
    (CPU, {"trainer.strategy": DDP, **TWO}, ""),
    (CPU, {"trainer.strategy": DEEP, **TWO}, "trainer.strategy (DeepSpeed) trains on CUDA"),
    (GPU, {"trainer.strategy": DEEP, **TWO, "trainer.accelerator": "cpu"}, "trainer.strategy (DeepSpeed) trains"),
    (GPU, {"trainer.strategy": DEEP, **TWO, "trainer.gradient_clip_algorithm": "value"}, "trainer.gradient_clip_algo"),
    (GPU, {"trainer.strategy": DEEP, **TWO, "task.non_finite": "skip"}, "task.non_finite (skip)"),
    (GPU, {"trainer.strategy": DEEP, **TWO, "trainer.accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches"),
    (GPU, {"trainer.strategy": DEEP, **TWO, "model.compile": "block"}, "model.compile (block)"),
    (GPU, {"trainer.strategy": DEEP, **TWO, "resume": "auto"}, "resume (auto)"),
    (CPU, {"trainer.strategy": FSDP, "trainer.devices": 3}, ""),
    (CPU, {"trainer.strategy": SPLIT, "trainer.devices": 3}, "trainer.strategy.tensor_parallel_size (2)"),
    (CPU, {"trainer.strategy": {**FSDP, "shard_size": 2}, "trainer.devices": 4}, ""),
    (CPU, {"trainer.strategy": {**FSDP, "shard_size": 2}, "trainer.devices": 3}, "trainer.strategy.shard_size (2)"),
    (CPU, {"trainer.strategy": {**SPLIT, "shard_size": 2}, "trainer.devices": 6}, "trainer.strategy.shard_size (2)"),
    (CPU, {"trainer.strategy": SPLIT, "trainer.devices": 2}, ""),
    (CPU, {"trainer.strategy": SPLIT, **TWO, "model._target_": rules_task.BILSTM}, "trainer.strategy.tensor_parallel"),
    (CPU, {"trainer.strategy": SPLIT, **TWO, **LLAMA}, "model.num_kv_heads (1)"),
    (CPU, {"trainer.strategy": SPLIT, **TWO, **SAMPLES}, "callbacks.samples"),
    (CPU, {"trainer.strategy": FSDP, **TWO, **SAMPLES}, ""),
    (CPU, {"trainer.strategy": FSDP, **TWO, **MUON}, "optimizer=muon"),
    (CPU, {"trainer.strategy": ZERO1, **TWO, **MUON}, "optimizer=muon"),
    (CPU, {"trainer.strategy": DDP, **TWO, **MUON}, ""),
    (GPU, {"trainer.strategy": FSDP, **TWO, "trainer.precision": "16-mixed", "optimizer.fused": False}, "trainer.prec"),
    (GPU, {"trainer.strategy": DDP, **TWO, "trainer.precision": "16-mixed", "optimizer.fused": False}, ""),
    (CPU, {"trainer.strategy": FSDP, **TWO, "trainer.precision": "bf16-true"}, ""),
    (CPU, {"trainer.strategy": FSDP, **TWO, "model.compile": "stack"}, "model.compile (stack)"),
    (CPU, {"trainer.strategy": FSDP, **TWO, "model.compile": "block"}, ""),
    (CPU, {"trainer.strategy": SPLIT, **TWO, "model.compile": "block"}, "model.compile (block)"),
    (CPU, {"trainer.strategy": FSDP, **TWO, **AVERAGE}, "callbacks.average (EMAWeightAveraging)"),
    (CPU, {"trainer.strategy": DDP, **TWO, **AVERAGE}, ""),
    (CPU, {"trainer.strategy": FSDP, **TWO, **HELD}, "callbacks.swa (StochasticWeightAverage)"),
    (CPU, OUR_AVERAGES, "callbacks.swa averages the weights as callbacks.ema does"),
    (CPU, {**HELD, "schedule": {"_target_": "src.schedule.plateau.plateau"}}, "callbacks.swa.lr (0.01)"),
    (CPU, {**HELD, "schedule": {"_target_": "src.schedule.constant.constant"}}, ""),
    (CPU, {"data.batch_size": 64, "accumulation.tokens": 6400}, ""),
    (CPU, {"data.batch_size": 64, "accumulation.tokens": 6399}, "accumulation.tokens (6399)"),
    (CPU, {"trainer.strategy": DDP, **TWO, "data.batch_size": 64, "accumulation.tokens": 12799}, "accumulation.tokens"),
    (CPU, {"trainer.strategy": DDP, **TWO, "data.batch_size": 64, "accumulation.tokens": 12800}, ""),
    (CPU, {"trainer.strategy": DDP, **TWO, **UNFREEZING}, "task.unfreeze_every (1)"),
    (CPU, UNFREEZING, ""),
    (CPU, {"trainer.strategy": FSDP, **TWO, "task.adversarial": 5.0}, "task.adversarial (5.0)"),
    (CPU, {"trainer.strategy": ZERO1, **TWO, "task.adversarial": 5.0}, ""),
    (CPU, {**TWO, "trainer.strategy": DDP, "trainer.devices": "auto"}, "trainer.devices"),
    (CPU, {**TWO, "trainer.strategy": DDP, "logger": {"wandb": {"api_key": "0123456789"}}}, "logger.wandb.api_key"),
    (CPU, {"logger": {"wandb": {"api_key": "0123456789"}}}, ""),
    (CPU, {**ON_CPU, "launcher": JOB}, ""),
    (CPU, {**ON_CPU, "launcher": JOB, "trainer.devices": [0]}, "trainer.devices"),
    (CPU, {**ON_CPU, "launcher": {**JOB, "nodes": 2}}, "launcher.nodes"),
    (CPU, {**ON_CPU, "launcher": {**JOB, "gpu_type": "h100"}}, "launcher.gpu_type"),
    (CPU, {**ON_CPU, "launcher": {**JOB, "partition": "a b"}}, "launcher.partition"),
    (CPU, {**ON_CPU, "launcher": {**JOB, "time": "soon"}}, "launcher.time"),
    (CPU, {**ON_CPU, "launcher": {**JOB, "time": 3}}, "launcher.time"),
    (CPU, {**ON_CPU, "launcher": {**JOB, "time": 4}}, ""),
]  # fmt: skip


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    config = copy.deepcopy(FINE)
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        node = ask(config, section) if section else config
        node[name] = value
    return config


@pytest.mark.parametrize(("facts", "changes", "begins"), CASES, ids=str)
def test_a_combination_is_refused_by_the_key_it_turns_on(
    facts: dict[str, bool], changes: dict[str, Any], begins: str
) -> None:
    if not begins:
        return check_rules(changed(changes), **facts)
    with pytest.raises(UserError) as caught:
        check_rules(changed(changes), **facts)
    assert str(caught.value).startswith(begins)
    assert str(caught.value).endswith((".", "?"))
    return None


def test_every_rule_refuses_something_in_the_table_and_knows_an_empty_config() -> None:
    from src.check.facts import Facts

    silent = [
        rule.__name__
        for rule in RULES
        if not any(rule(changed(changes), Facts(**facts)) for facts, changes, _ in CASES)
        or rule({}, Facts(cuda=False, bf16=False))
        not in (None, rules_trainer.training_ends({}, Facts(cuda=False, bf16=False)))
    ]
    assert silent == []


def test_every_rule_that_is_written_is_in_the_list() -> None:
    written = {
        name
        for module in {sys.modules[rule.__module__] for rule in RULES}
        for name, value in vars(module).items()
        if getattr(value, "__annotations__", {}).keys() == {"config", "facts", "return"}
    }
    assert {rule.__name__ for rule in RULES} == written


def test_the_monitored_metrics_are_those_that_the_task_logs() -> None:
    from src.task.metrics import ClassificationMetrics

    logged = {f"val/{name}" for name in ClassificationMetrics(2).metrics} | {"val/loss"}
    assert set(rules_monitor.CLASSIFIER) == logged


@pytest.mark.parametrize(("key", "value"), [("a.b", 1), ("a", {"b": 1}), ("a.c", None), ("a.b.c", None), ("x.y", None)])
def test_a_key_that_is_not_there_is_none(key: str, value: Any) -> None:
    assert ask({"a": {"b": 1}}, key) == value
