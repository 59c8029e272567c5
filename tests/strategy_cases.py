"""Small networks trained under any strategy, in one process or as one of several ranks, on the same global batches."""

import functools
import importlib
import os
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import distributed
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader

from src.callbacks.step_seed import StepSeed
from src.data.batch import Batch
from src.data.block import Block
from src.data.passages import WordBlock
from src.model.bilstm import BiLSTM
from src.model.recurrent_lm import RecurrentLanguageModel
from src.model.transformer import Transformer
from src.model.transformer_classifier import TransformerClassifier
from src.optimizer.muon import MuonAdamW
from src.run.checkpoint import VerifiedCheckpointIO
from src.schedule.warmup_cosine import warmup_cosine
from src.task.classifier import Classifier
from src.task.language_model import LanguageModel
from src.task.recurrent_language_model import BidirectionalLanguageModel
from tests.ranks import on_ranks

STEPS, ROWS, LENGTH, VOCABULARY = 3, 8, 8, 40
SIZES = {"vocab_size": VOCABULARY, "width": 16, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2}
SIZES |= {"feed_forward_width": 24}
Case = dict[str, Any]


def train_on_ranks(cases: dict[str, Case], folder: Path, *, ranks: int, seconds: float = 120) -> list[dict[str, Any]]:
    """Of each rank: name of a case to its whole weights, and what the rank says of its part."""

    def work(rank: int) -> dict[str, Any]:
        # Lightning takes ranks that are there already for those of an elastic launcher.
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "TORCHELASTIC_RUN_ID")
        os.environ |= dict(zip(names, map(str, (rank, rank, ranks, ranks, 0, "test")), strict=True))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        warnings.simplefilter("ignore")
        found = {}
        for name, case in cases.items():
            task, trainer = train(case, world=ranks, folder=folder / name)
            found[name] = {"whole": whole_weights(task, trainer), **of_this_rank(task, trainer)}
            distributed.barrier()
        return found

    found = on_ranks(ranks, work, folder, seconds=seconds)
    for rank, result in enumerate(found):
        assert isinstance(result, dict), f"rank {rank}: {result!r}"
    return found


def make_task(case: Case) -> Any:
    """The task of a case, with the same first weights wherever it is made."""
    torch.manual_seed(0)
    # With Adam's usual epsilon the rounding of gradients near 0 would come out as whole steps.
    adamw = functools.partial(torch.optim.AdamW, lr=0.01, eps=1e-3, fused=True)
    parts = {
        "optimizer": functools.partial(MuonAdamW, lr=0.01) if case.get("optimizer") == "muon" else adamw,
        "schedule": functools.partial(warmup_cosine, warmup=0.5),
    }
    options = {"compile": case.get("compile", "none"), "checkpointing": case.get("checkpointing", "none")}
    match case.get("model", "transformer"):
        case "transformer":
            return LanguageModel(network=Transformer(**SIZES, **options), **parts)
        case "untied":
            return LanguageModel(network=Transformer(**SIZES, **options, qk_norm=True, tie_embeddings=False), **parts)
        case "transformer_classifier":
            return Classifier(network=TransformerClassifier(**SIZES, **options), **parts)
        case "bilstm":
            return Classifier(network=BiLSTM(vocab_size=VOCABULARY, width=8, hidden=8, dropout=0.0), **parts)
        case "bilstm_lm":
            network = RecurrentLanguageModel(vocab_size=VOCABULARY, width=8, hidden=8)
            return BidirectionalLanguageModel(network=network, num_samples=VOCABULARY, **parts)
        case other:
            raise ValueError(other)


def make_batch(case: Case, number: int, *, ranks: int, rank: int) -> Any:
    """Rank's rows of global micro-batch `number`; its rows count unequally many targets."""
    accumulate = case.get("accumulate", 1)
    draws = [torch.Generator().manual_seed(ROWS * number + row) for row in range(ROWS)]
    tokens = torch.stack([torch.randint(2, VOCABULARY, (LENGTH + 1,), generator=draw) for draw in draws])
    lengths = 3 + (torch.arange(ROWS) + number) % (LENGTH - 2)
    first = number - number % accumulate
    mine = slice(rank, None, ranks)

    def weigh(count: Any) -> float:
        """count(number, slice) -> what those rows count; this batch's part of its window."""
        whole = sum(count(part, slice(None)) for part in range(first, first + accumulate))
        return float(ranks * count(number, mine) / whole)

    counted = {n: 3 + (torch.arange(ROWS) + n) % (LENGTH - 2) for n in range(first, first + accumulate)}
    behind = torch.arange(LENGTH) >= lengths[:, None]
    model = case.get("model", "transformer")
    if model in ("bilstm", "transformer_classifier"):
        ids = tokens[:, :LENGTH].masked_fill(behind, 0)
        share = weigh(lambda n, rows: len(counted[n][rows]))
        return Batch(ids[mine], lengths[mine], (tokens[:, 0] % 2)[mine], torch.arange(ROWS)[mine], share)
    if model == "bilstm_lm":
        ids = tokens[:, :LENGTH].masked_fill(behind, 0)
        share = weigh(lambda n, rows: (counted[n][rows] - 1).sum())
        return WordBlock(ids[mine], lengths[mine], share)
    targets = tokens[:, 1:].masked_fill(behind, -100)
    documents = (torch.arange(LENGTH) >= 5).long().expand(ROWS, LENGTH)
    share = weigh(lambda n, rows: counted[n][rows].sum())
    return Block(tokens[mine, :LENGTH], targets[mine], documents[mine], torch.tensor(1), share)


def make_strategy(case: Case) -> Any:
    strategy = case.get("strategy", "auto")
    if isinstance(strategy, str):
        return strategy
    module, _, name = strategy["_target_"].rpartition(".")
    settings = {key: value for key, value in strategy.items() if key != "_target_"}
    return getattr(importlib.import_module(module), name)(**settings)


def in_one_process(case: Case) -> dict[str, Any]:
    """Weights and last gradient norm of the same case without a strategy and without an interruption."""
    task, trainer = train({key: value for key, value in case.items() if key not in ("strategy", "resume", "then")})
    return {"whole": whole_weights(task, trainer), **of_this_rank(task, trainer)}


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference between two sets of weights."""
    return max(float((one[name] - other[name]).abs().max()) for name in one | other)


class Fixed(lightning.LightningDataModule):
    """The batches of a case for the rank that asks."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case

    def train_dataloader(self) -> Any:
        found = self.trainer.distributed_sampler_kwargs or {"num_replicas": 1, "rank": 0}  # type: ignore[union-attr]
        numbers = range(STEPS * self.case.get("accumulate", 1))
        batches = [make_batch(self.case, n, ranks=found["num_replicas"], rank=found["rank"]) for n in numbers]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


class Stop(lightning.Callback):
    """Ends training after the first epoch, however many the schedule counts with."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.should_stop = True


def make_trainer(case: Case, world: int, *callbacks: Any) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu",
        devices=world,
        strategy=make_strategy(case),
        precision=case.get("precision", "32-true"),
        max_epochs=case.get("epochs", 1),
        accumulate_grad_batches=case.get("accumulate", 1),
        gradient_clip_val=case.get("clip", 0.1),
        gradient_clip_algorithm=case.get("algorithm", "norm"),
        callbacks=[StepSeed(seed=0), *callbacks],
        plugins=[VerifiedCheckpointIO()],
        log_every_n_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def train(case: Case, *, world: int = 1, folder: Path | None = None) -> tuple[Any, lightning.Trainer]:
    """Train a case; with "resume" the epochs behind the first in a new trainer, from the checkpoint of the first.

    "then": what is other in that second trainer, its strategy for one.
    """
    task, trainer = make_task(case), make_trainer(case, world, *([Stop()] if case.get("resume") else []))
    trainer.fit(task, datamodule=Fixed(case))
    if case.get("resume"):
        assert folder is not None
        path = folder / "checkpoints" / f"step-{trainer.global_step:08d}" / "state.ckpt"
        trainer.save_checkpoint(path, storage_options={"scores": {}})
        trainer.strategy.barrier()
        case = {**case, **case.get("then", {})}
        task, trainer = make_task(case), make_trainer(case, world)
        trainer.fit(task, datamodule=Fixed(case), ckpt_path=path, weights_only=True)
    return task, trainer


def whole_weights(task: Any, trainer: Any) -> dict[str, Any]:
    """The weights of all ranks put together, in the order of one process."""
    state = trainer.strategy.lightning_module_state_dict()
    return {
        name.removeprefix("network."): (value.full_tensor() if isinstance(value, DTensor) else value).detach().clone()
        for name, value in state.items()
        if name.startswith("network.")
    }


def of_this_rank(task: Any, trainer: Any) -> dict[str, Any]:
    """Numbers that this rank holds of the weights and of the optimizer's state, and the shapes of its parts."""

    def here(tensor: Any) -> Any:
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor

    optimizer: Any = trainer.optimizers[0]
    inner = getattr(optimizer, "optim", optimizer)
    named = dict(task.network.named_parameters())
    states = [value for values in inner.state.values() for key, value in values.items() if key != "step"]
    return {
        "weights": sum(here(parameter).numel() for parameter in named.values()),
        "of": sum(parameter.numel() for parameter in named.values()),
        "states": sum(here(value).numel() for value in states),
        "shapes": {name: list(here(parameter).shape) for name, parameter in named.items()},
        "norm": float(trainer.callback_metrics.get("train/gradient_norm", 0.0)),
    }
