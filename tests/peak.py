"""`python -m tests.peak <overrides of src.train> [/ <overrides> ...]`: planned and measured memory of steps on a CPU.

Measured is the most that the process held in its third and fourth step (VmHWM) above what it held when everything was
imported and warm, in bytes. Batches are full: data.batch_size rows of data.max_length tokens.
"""

import gc
import json
import os
import sys
from pathlib import Path

# Memory that is freed goes back to the system at once, so that none of it is counted twice.
SETTINGS = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
SETTINGS |= {"MALLOC_TOP_PAD_": "0", "OMP_NUM_THREADS": "1", "THP_MEM_ALLOC_ENABLE": "0"}


def status(field: str) -> int:
    """A size of this process from /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def batches_of(config, count):
    """`count` full batches as the config's task reads them."""
    import torch

    from src.data.batch import Batch
    from src.data.block import Block

    rows, length, words = config["data"]["batch_size"], config["data"]["max_length"], config["model"]["vocab_size"]
    ids = torch.randint(2, words, (rows, length))
    if config["model"]["_target_"].endswith("BiLSTM"):
        labels, lengths = torch.randint(0, 2, (rows,)), torch.full((rows,), length)
        return [Batch(ids=ids, lengths=lengths, labels=labels, rows=torch.arange(rows), share=1.0)] * count
    documents = (torch.arange(length) >= length // 2).long().expand(rows, length).contiguous()
    return [Block(ids=ids, targets=ids, documents=documents, num_bytes=torch.tensor(ids.numel()), share=1.0)] * count


def train(config):
    """Four steps with Lightning's Trainer."""
    import lightning
    from torch.utils.data import DataLoader

    from src.launch.build import build_network, build_task

    class Reset(lightning.Callback):
        """The highest mark starts anew behind the second step."""

        def on_train_batch_start(self, trainer, task, batch, batch_idx):
            if batch_idx == 2:
                Path("/proc/self/clear_refs").write_text("5")

    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        precision=config["trainer"]["precision"],
        gradient_clip_val=1.0,
        callbacks=[Reset()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(build_task(config, build_network(config)), DataLoader(batches_of(config, 4), batch_size=None))


def main(overrides: list[str]) -> dict[str, int]:
    from hydra import compose, initialize_config_dir

    from src.check.memory import plan_memory
    from src.launch.build import quiet
    from src.launch.compose import CONFIG_FOLDER, register_resolvers
    from src.launch.preflight import build_on_meta, preflight

    quiet()
    register_resolvers()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = preflight(compose("train", overrides=[*overrides, "trainer=cpu"]), run_dir="<run folder>")
        small = preflight(compose("train", overrides=[*overrides, "trainer=cpu", "data.batch_size=1"]), run_dir="<x>")
    train(small)
    gc.collect()
    before = status("VmRSS")
    train(config)
    plan = plan_memory(config, build_on_meta(config), cuda=False)
    return {"planned": plan.total, "measured": status("VmHWM") - before, "before": before, "sums": plan.sums}


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in SETTINGS.items()):
        os.execve(sys.executable, [sys.executable, "-m", "tests.peak", *sys.argv[1:]], {**os.environ, **SETTINGS})
    import warnings

    warnings.simplefilter("ignore")
    for overrides in " ".join(sys.argv[1:]).split(" / "):
        print(json.dumps(main(overrides.split())), flush=True)
