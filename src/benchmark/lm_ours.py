"""This project's transformer and recipe, alone in a process: `python -m src.benchmark.lm_ours OPTIONS`.

OPTIONS and the answers are those of lm_transformers.py.
"""

import json
import logging
import sys
import tempfile
import warnings
from functools import partial
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from src.attention import auto
from src.benchmark.lm_transformers import RandomTokens, Rounds, say
from src.callbacks.learning_rate import LearningRate
from src.callbacks.step_seed import StepSeed
from src.callbacks.throughput import Throughput
from src.data.block import Block
from src.model.transformer import Transformer
from src.schedule.constant import constant
from src.task.language_model import LanguageModel


class Pause(lightning.Callback):
    """Stops at the end of a round; it stands last, so that what the others do in a step counts."""

    def __init__(self, rounds: Rounds) -> None:
        self.rounds = rounds

    def on_train_start(self, *_: Any) -> None:
        self.rounds.wait()

    def on_train_batch_end(self, *_: Any) -> None:
        self.rounds.step_ended()


def make_block(tokens: Tensor, *, batch_size: int) -> Block:
    """(B * T + 1,) tokens -> B rows of one document each, every target counted."""
    ids, targets = (part.view(batch_size, -1) for part in (tokens[:-1], tokens[1:]))
    return Block(
        ids=ids,
        targets=targets,
        documents=torch.zeros_like(ids),
        num_bytes=torch.tensor(targets.numel()),
        share=1.0,
    )


def make_trainer(*, bf16: bool, folder: str, rounds: Rounds, seed: int) -> lightning.Trainer:
    """The trainer, logger and callbacks of a run; no checkpoint, as on the other side."""
    return lightning.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=1,
        precision="bf16-mixed" if bf16 else "32-true",
        gradient_clip_val=1.0,
        limit_val_batches=0,
        callbacks=[StepSeed(seed=seed), LearningRate(), Throughput(), Pause(rounds)],
        logger=CSVLogger(folder, name="", version=""),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def main() -> None:
    """See lm_transformers.main."""
    options = json.loads(sys.argv[1])
    sys.stdout = sys.stderr
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Blocks are cut from memory: workers would only cost.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    torch.set_num_threads(options["threads"])
    torch.manual_seed(options["seed"])
    sizes, batch_size = options["sizes"], options["batch_size"]
    network = Transformer(**sizes, attention=auto.attend, compile="stack" if options["compile"] else "none")
    task = LanguageModel(
        network=network,
        optimizer=partial(torch.optim.AdamW, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True),
        schedule=constant,
    )
    data = RandomTokens(
        partial(make_block, batch_size=batch_size),
        vocab_size=sizes["vocab_size"],
        length=batch_size * sizes["max_length"] + 1,
    )
    say(parameters=sum(parameter.numel() for parameter in network.parameters()))
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(bf16=options["bf16"], folder=folder, rounds=Rounds(steps=options["steps"]), seed=0)
        # A loader for validation too, though it is off: Lightning warns of a task that validates and has none.
        blocks = DataLoader(data, batch_size=None)
        trainer.fit(task, blocks, blocks)


if __name__ == "__main__":
    main()
