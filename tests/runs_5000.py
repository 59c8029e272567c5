"""Time the run index on synthetic run folders: `python -m tests.runs_5000 [count=5000] [folder=DIR]`.

cold: after the kernel was asked to forget the content of every file; warm: as the second of two calls sees it.
"""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from src.run.yaml_text import to_yaml

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "ls": ["ls"],
    "ls, all printed": ["ls", "limit=all"],
    "ls, all as JSON": ["ls", "format=json"],
    "ls with a metric": ["ls", "model=bilstm", "val/f1>0.9", "sort=-val/f1"],
    "ls with a config key": ["ls", "optimizer.lr<=1e-3", "limit=all"],
    "ls with two, and a column": ["ls", "optimizer.lr<=1e-3", "tags=lm", "columns=model.dropout", "limit=all"],
    "ls of a key that half lack": ["ls", "model.num_heads=4", "limit=all"],
    "ls sweeps": ["ls", "sweeps=true"],
    "best": ["best", "val/f1"],
    "best with a config key": ["best", "val/f1", "optimizer.lr<=1e-3"],
    "clean": ["clean", "state=failed"],
    "clean of everything": ["clean"],
}
STATES = ["finished"] * 16 + ["failed"] * 2 + ["killed", "running"]


def config_of(chance, folder, name):
    """Much like a real config.yaml, 3 kB; one in fifty holds a text of several lines, which the fast reading leaves."""
    transformer = chance.random() < 0.5
    model = (
        {"_target_": "src.model.transformer_classifier.TransformerClassifier", "num_heads": 4, "num_kv_heads": None,
         "rotary_base": 10000.0, "qk_norm": False, "attention": {"_target_": "src.attention.auto.attend"}}
        if transformer
        else {"_target_": "src.model.bilstm.BiLSTM", "hidden": 256, "pooling": "masked_mean"}
    )  # fmt: skip
    trainer = {f"setting_{number}": chance.choice([None, True, 0.5, number]) for number in range(30)}
    note = " ".join(["a note of many words: with a colon"] * 8) if chance.random() < 0.02 else "short"
    return {
        "seed": chance.randrange(3),
        "monitor": "val/loss",
        "monitor_mode": "min",
        "tags": chance.choice([[], ["lm"], ["lm", "imdb"]]),
        "init_from": name if chance.random() < 0.01 else None,
        "task": {"_target_": "src.task.classifier.Classifier", "num_classes": 2, "label_smoothing": 0.0},
        "data": {
            "_target_": "src.data.module.Reviews",
            "path": chance.choice([None, "../shared/data/imdb"]),
            "reader": {"_target_": "src.data.source.read_corpus", "_partial_": True},
            "label_names": ["neg", "pos"],
            "batch_size": chance.choice([16, 32, 64]),
        },
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 10 ** chance.uniform(-5, -2), "betas": [0.9, 0.999]},
        "model": {**model, "vocab_size": 20000, "dropout": round(chance.random(), 3)},
        "trainer": {"_target_": "lightning.Trainer", "max_epochs": 6, "note": note, **trainer},
        "callbacks": {"early_stopping": None, "checkpoint": {"folder": str(folder), "keep": 2}},
        "paths": {"output_dir": "outputs", "run_dir": str(folder)},
    }


def make_run(chance, folder, *, name, number):
    """One run folder; `name` is what it may begin from."""
    folder.mkdir(parents=True)
    state = chance.choice(STATES)
    second = f"{number % 28 + 1:02d}T{number % 24:02d}:{number % 60:02d}:00+00:00"
    status = {"state": state, "started": f"2026-10-{second}", "attempt": 1, "pid": 1, "host": "elsewhere"}
    if state != "running":
        status |= {"ended": f"2026-11-{second}", "exit_code": 0 if state == "finished" else 1}
    if state == "failed":
        status["reason"] = "UserError: data.path (nowhere) must be a folder."
    config = config_of(chance, folder, name)
    names = ("loss", "acc", "auroc", "f1", "precision", "recall")
    metrics = {f"{split}/{name}": chance.random() for split in ("val", "test") for name in names}
    columns = ["epoch", "step", "train/loss", *(name for name in metrics if name.startswith("val"))]
    rows = [",".join([str(epoch), str(99 * epoch), *(f"{chance.random()}" for _ in columns[2:])]) for epoch in range(6)]
    files = {
        "status.json": json.dumps(status, indent=2),
        "config.yaml": to_yaml(config),
        "command.txt": f"python -m src.train optimizer.lr={config['optimizer']['lr']} seed={config['seed']}\n",
        "metrics.csv": "\n".join([",".join(columns), *rows]) + "\n",
        "env.json": json.dumps({"git": {"commit": "0" * 40}, "versions": {"torch": "2.13.0"}}, indent=2),
    }
    if state == "finished":
        more = {"parameters": 1_000_000, "epochs": 6, "steps": 594, "seconds": chance.random() * 1000}
        files["result.json"] = json.dumps({"run": folder.name, "seed": config["seed"], **more, **metrics}, indent=2)
    for file, text in files.items():
        (folder / file).write_text(text)
    (folder / "logs").mkdir()
    (folder / "checkpoints").mkdir()


def make(root, *, count, seed=0):
    """`count` run folders below `root`, every tenth a job of a sweep of 50."""
    chance, name = random.Random(seed), None
    sweeps, singles = count // 10, count - count // 10
    for number in range(singles):
        model = chance.choice(["bilstm", "transformer_classifier"])
        day = f"2026-{number // 2400 + 8:02d}-{number // 100 % 24 + 1:02d}"
        folder = (
            root / "train" / f"{day}_12-{number // 60 % 60:02d}-{number % 60:02d}_{model}_{chance.getrandbits(32):08x}"
        )
        make_run(chance, folder, name=name, number=number)
        name = folder.name
    for first in range(0, sweeps, 50):
        sweep = root / "sweeps" / f"2026-11-01_12-{first // 50:02d}-00_{chance.getrandbits(32):08x}"
        size = min(50, sweeps - first)
        lines = []
        for job in range(size):
            make_run(chance, sweep / str(job), name=None, number=first + job)
            end = {"job": job, "event": "ended", "state": "finished", "exit_code": 0, "reason": None}
            start = {"job": job, "event": "started", "overrides": [f"seed={job}"], "trial": None, "time": "2026-11-01"}
            lines += [json.dumps(start), json.dumps({**end, "values": [chance.random()], "time": "2026-11-01"})]
        facts = {"kind": "grid", "objectives": {"val/loss": "minimize"}, "jobs": size, "created": "2026-11-01"}
        (sweep / "sweep.json").write_text(json.dumps(facts))
        (sweep / "jobs.jsonl").write_text("\n".join(lines) + "\n")


def forget(root):
    """Drop what the kernel keeps of the files' content; names and inodes it keeps."""
    for folder, _, names in os.walk(root):
        for name in names:
            opened = os.open(f"{folder}/{name}", os.O_RDONLY)
            os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(opened)


def clock(arguments, root):
    """Seconds by the wall and of the processor, the start of Python among them, and lines printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "src.runs", *arguments, f"root={root}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, spent, len(done.stdout.splitlines())


def main(arguments):
    options = {"count": "5000", "folder": None} | dict(argument.split("=", 1) for argument in arguments)
    place = Path(options["folder"] or tempfile.mkdtemp(prefix="runs_"))
    root = place / "outputs"
    try:
        if not root.exists():
            make(root, count=int(options["count"]))
            os.sync()  # what was not written yet cannot be forgotten
        print(f"{'command':<28}{'cold s':>9}{'warm s':>9}{'CPU s':>9}{'lines':>8}")
        for name, words in COMMANDS.items():
            forget(root)
            cold, _, _ = clock(words, root)
            warm = [clock(words, root) for _ in range(3)]
            wall, spent = min(each[0] for each in warm), min(each[1] for each in warm)
            print(f"{name:<28}{cold:>9.2f}{wall:>9.2f}{spent:>9.2f}{warm[0][2]:>8}", flush=True)
    finally:
        if options["folder"] is None:
            shutil.rmtree(place)


if __name__ == "__main__":
    main(sys.argv[1:])
