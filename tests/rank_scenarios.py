"""Small trainings that any number of processes can run alike: `python -m tests.rank_scenarios FOLDER RANKS [NAME ...]`.

Batches of 12 rows over all ranks, so that 1, 2, 3, 4 and 6 processes train the same.
"""

import multiprocessing
import multiprocessing.connection
import os
import subprocess
import sys
from functools import partial
from itertools import chain
from pathlib import Path

import lightning
import torch

from src.callbacks.ema import ExponentialMovingAverage
from src.callbacks.step_seed import StepSeed
from src.callbacks.throughput import Throughput
from src.data.demo import read_demo
from src.data.module import Reviews
from src.data.sampler import Readers
from src.data.texts import Texts
from src.data.word_blocks import WordBlocks
from src.launch.meeting import Loopback
from src.model.bilstm import BiLSTM
from src.model.recurrent_lm import RecurrentLanguageModel
from src.model.transformer import Transformer
from src.schedule.constant import constant
from src.strategy.ddp import DataParallel
from src.task.classifier import Classifier
from src.task.evaluation import evaluate_split
from src.task.language_model import LanguageModel
from src.task.recurrent_language_model import BidirectionalLanguageModel

ROOT = Path(__file__).parents[1]
GLOBAL_BATCH = 12
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
ADAM = partial(torch.optim.Adam, lr=1e-3)
NAMES = ["neg", "pos"]


class Poison(lightning.Callback):
    """Makes the loss of some batch infinite on the last rank, its gradient finite: only that rank can see it."""

    def __init__(self, batch, world):
        self.batch, self.world = batch, world

    def on_train_start(self, trainer, pl_module):
        pl_module.network.register_forward_hook(partial(self.spoil, trainer))

    def spoil(self, trainer, module, inputs, logits):
        here = trainer.training and trainer.fit_loop.epoch_loop.batch_idx == self.batch
        if here and trainer.global_rank == self.world - 1:
            return logits + torch.tensor([float("-inf"), 0.0], dtype=logits.dtype)
        return logits


def reviews(folder, world, *, kind=Reviews, **changes):
    """94 reviews are 74, 10 and 10."""
    count = changes.pop("num_reviews", 94)
    settings = {"vocab_size": 60, "max_length": 20, "bucket_batches": 2, "eval_batch_size": 3, "seed": 5} | changes
    return kind(
        path=None, reader=partial(read_demo, num_reviews=count, seed=0), label_names=NAMES,
        batch_size=GLOBAL_BATCH // world, cache_dir=str(folder / "cache"), **settings,
    )  # fmt: skip


def texts(folder, world):
    return Texts(
        path=None, reader=partial(read_demo, num_reviews=94, seed=0), label_names=NAMES, vocab_size=300, max_length=16,
        batch_size=GLOBAL_BATCH // world, eval_batch_size=5, cache_dir=str(folder / "cache"), seed=5,
    )  # fmt: skip


def words(folder, world):
    return WordBlocks(
        path=None, reader=partial(read_demo, num_reviews=94, seed=0), label_names=NAMES, include_unsupervised=False,
        vocab_size=60, max_length=9, batch_size=GLOBAL_BATCH // world, eval_batch_size=5, bucket_batches=2,
        cache_dir=str(folder / "cache"), seed=5,
    )  # fmt: skip


def classifier(optimizer=SGD, **settings):
    torch.manual_seed(0)
    network = BiLSTM(vocab_size=60, width=8, hidden=6, dropout=0.0)
    return Classifier(network=network, optimizer=optimizer, schedule=constant, **settings)


def language_model(optimizer=SGD):
    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "width": 16, "num_layers": 2, "num_heads": 2, "feed_forward_width": 24}
    return LanguageModel(network=Transformer(**sizes), optimizer=optimizer, schedule=constant)


def both_directions(optimizer=SGD):
    torch.manual_seed(0)
    network = RecurrentLanguageModel(vocab_size=60, width=8, hidden=6)
    # As many samples as words: every word is in every sample, and no rank draws another one.
    return BidirectionalLanguageModel(network=network, optimizer=optimizer, schedule=constant, num_samples=60)


def run(task, data, world, *, callbacks=(), **settings):
    """Train, then measure both splits; what a rank has come to in the end."""
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    data.prepare_data()
    data.setup()

    def make(**parts):
        strategy = DataParallel(timeout=60.0) if world > 1 else "auto"
        several = {"accelerator": "cpu", "devices": world, "strategy": strategy, "use_distributed_sampler": False}
        return lightning.Trainer(**{"max_epochs": 2, "gradient_clip_val": 1.0} | quiet | several | settings | parts)

    speed = Throughput()
    trainer = make(callbacks=[StepSeed(seed=0), *callbacks, speed])
    trainer.fit(task, datamodule=data)
    weights = {name: value.detach().clone() for name, value in task.network.state_dict().items()}
    found = {"weights": weights, "train": {name: float(value) for name, value in trainer.callback_metrics.items()}}
    found |= {"steps": trainer.global_step, "skipped": task.guard.skipped, "counted": (speed.batches, speed.examples)}
    for split in ("val", "test"):
        evaluation = evaluate_split(task, data, split=split, make_trainer=lambda **parts: make(**parts))
        found[split] = evaluation.metrics
        found[f"{split}_predictions"] = evaluation.predictions
    return found


DOUBLE = {"precision": "64-true"}


class InTurns(Reviews):
    """One process that reads what each of two ranks would, one after the other, as micro-batches of one step."""

    def train_dataloader(self):
        orders = [Reviews.train_dataloader(self).sampler for _ in range(2)]
        for rank, order in enumerate(orders):
            order.readers, order.accumulate = Readers(2, rank), 1
        draws = chain.from_iterable(zip(*orders, strict=True))
        batches = [self.views["train"][draw._replace(share=draw.share / 2)] for draw in draws]
        return torch.utils.data.DataLoader(batches, batch_size=None)


def in_turns(task, folder, world):
    """An epoch of two ranks, or of one process in their place."""
    data, settings = reviews(folder, world), {"max_epochs": 1, "log_every_n_steps": 1}
    if world == 1:
        data, settings = reviews(folder, 2, kind=InTurns), settings | {"accumulate_grad_batches": 2}
    return run(task, data, world, **settings)


# Name to what is trained. In float64, where a sum in another order differs by 1e-16 and every mistake by far more;
# the rest is in float32. 74 rows are six full batches of 12, and one of 2.
SCENARIOS = {
    "bilstm": lambda folder, world: run(classifier(), reviews(folder, world), world),
    "bilstm_adam": lambda folder, world: run(classifier(ADAM), reviews(folder, world), world),
    "bilstm_accumulated": lambda folder, world: run(
        classifier(), reviews(folder, world), world, accumulate_grad_batches=3, **DOUBLE
    ),
    # 73 for training: the last batch has one row, and all ranks but the first have none.
    "bilstm_one_row": lambda folder, world: run(
        classifier(),
        reviews(folder, world, num_reviews=93),
        world,
        accumulate_grad_batches=2,
        log_every_n_steps=1,
        **DOUBLE,
    ),
    "bilstm_limited": lambda folder, world: run(
        classifier(), reviews(folder, world), world, limit_train_batches=5, accumulate_grad_batches=2, **DOUBLE
    ),
    "bilstm_overfit": lambda folder, world: run(
        classifier(), reviews(folder, world), world, overfit_batches=0.5, **DOUBLE
    ),
    "bilstm_skip": lambda folder, world: run(
        classifier(non_finite="skip"), reviews(folder, world), world, callbacks=[Poison(2, world)], **DOUBLE
    ),
    # What is compared, and measured, are the averages.
    "bilstm_averaged": lambda folder, world: run(
        classifier(), reviews(folder, world), world, callbacks=[ExponentialMovingAverage()], **DOUBLE
    ),
    "bilstm_in_turns": lambda folder, world: in_turns(classifier(ADAM), folder, world),
    # The worst neighbours are as far away as the micro-batch says, so one process must read the same ones.
    "adversarial_in_turns": lambda folder, world: in_turns(classifier(adversarial=1.0), folder, world),
    # Not trained, so that the weights are equal and with them every bit of what is measured.
    "bilstm_measured": lambda folder, world: run(classifier(), reviews(folder, world), world, max_epochs=0),
    # One batch for the first rank of val and test, none for the others.
    "bilstm_measured_by_one": lambda folder, world: run(
        classifier(), reviews(folder, world, eval_batch_size=50), world, max_epochs=0
    ),
    "transformer_measured": lambda folder, world: run(language_model(), texts(folder, world), world, max_epochs=0),
    "transformer": lambda folder, world: run(language_model(), texts(folder, world), world, max_steps=8),
    "transformer_accumulated": lambda folder, world: run(
        language_model(), texts(folder, world), world, accumulate_grad_batches=3, **DOUBLE
    ),
    "both_directions": lambda folder, world: run(
        both_directions(), words(folder, world), world, accumulate_grad_batches=2, **DOUBLE
    ),
}


def start(folder, world, *names):
    """What every rank has come to in each scenario (None: all), in `world` processes that end before this returns."""
    command = [sys.executable, "-m", "tests.rank_scenarios", str(folder), str(world), *names]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300
    )
    assert done.returncode == 0, done.stdout
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=False) for rank in range(world)]


def work(folder, rank, world, port, names):
    """One rank, as torch's elastic launcher would have set it up; it ends with its parent."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "ranks", "GROUP_RANK": 0}
    where |= {"TORCHELASTIC_USE_AGENT_STORE": True}
    who = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    os.environ.update({name: str(value) for name, value in (where | who).items()})
    torch.save({name: SCENARIOS[name](folder, world) for name in names}, folder / f"rank-{rank}.pt")
    torch.distributed.destroy_process_group()


def main(place, size, *names):
    """Fork the ranks, so that torch is imported once; the first one that fails ends the others."""
    meeting = Loopback("ranks")  # a port that was free a moment ago may be another process's by now
    port = meeting.next_rendezvous().bootstrap_store_info.master_port
    fork, world = multiprocessing.get_context("fork"), int(size)
    ranks = [
        fork.Process(target=work, args=(Path(place), rank, world, port, names or SCENARIOS), daemon=True)
        for rank in range(world)
    ]
    for process in ranks:
        process.start()
    while any(process.exitcode is None for process in ranks):
        multiprocessing.connection.wait([process.sentinel for process in ranks if process.exitcode is None])
        if any(process.exitcode for process in ranks):
            sys.exit(1)  # daemons end with this process
    sys.exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
