"""Folders of runs and sweeps as training leaves them behind, without any training: curves, results, predictions."""

import json
import random

import numpy as np

from src.run.folder import RunFolder
from src.run.predictions import write_predictions
from src.run.secrets import redact
from src.run.yaml_text import to_yaml

GRID = {"optimizer.lr": ["0.0001", "0.001", "0.01"], "model.pooling": ["max", "mean"], "seed": ["1", "2"]}


def write(path, value):
    """Without the wait for the disk that real runs take."""
    path.write_text(json.dumps(value))


def final_loss(settings):
    """What a run ends with; the learning rate decides most, then the pooling, then the seed."""
    noise = random.Random(json.dumps(settings, sort_keys=True)).uniform(-0.01, 0.01)
    distance = abs(np.log10(float(settings.get("optimizer.lr", 1e-3))) + 3)
    return 0.35 + 0.12 * distance + (0.04 if settings.get("model.pooling") == "mean" else 0.0) + noise


def make_run(path, settings, *, epochs=6, state="finished", loss=None, predictions=0, accuracy=0.85, seed=0):
    """A run that was told `settings` by dotted key; of one that has not finished only half of its epochs are there."""
    folder = RunFolder(path)
    folder.checkpoints.mkdir(parents=True)
    folder.logs.mkdir()
    config = {"monitor": "val/loss", "monitor_mode": "min", "seed": seed, "data": {"seed": seed, "reader": {"seed": 0}}}
    config |= {"optimizer": {"_target_": "torch.optim.Adam", "lr": 1e-3}, "paths": {"run_dir": str(path)}}
    for key, value in settings.items():
        *sections, last = key.split(".")
        node = config
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
        if key == "seed":
            config["data"]["seed"] = value
    folder.config.write_text(to_yaml(redact(config)))
    folder.command.write_text(" ".join(["python -m src.train", *(f"{k}={v}" for k, v in settings.items())]) + "\n")
    data = {"content": "ab", "label_names": ["neg", "pos"], "split": "holdout"}
    write(folder.environment, {"git": {"commit": "c0ffee"}, "data": data})
    end = final_loss(settings) if loss is None else loss
    lines = ["epoch,step,train/loss,val/loss,val/acc"]
    for epoch in range(epochs if state == "finished" else epochs // 2):
        value = end + (0.69 - end) * 0.5**epoch + 0.01 * max(0, epoch - 3)
        lines.append(f"{epoch},{10 * epoch + 9},{value - 0.02 * epoch:.6f},{value:.6f},{1.05 - value:.6f}")
    folder.metrics.write_text("\n".join(lines) + "\n")
    if state == "finished":
        write(folder.result, {"val/loss": end, "val/acc": 1.05 - end, "seconds": 12.5, "seed": config["seed"]})
    if predictions:
        draw = np.random.default_rng(7)
        labels = draw.integers(2, size=predictions)
        right = np.random.default_rng(int(1e6 * end)).random(predictions) < accuracy
        chosen = np.where(right, labels, 1 - labels)
        write_predictions(
            folder.predictions_test, rows=np.arange(predictions), labels=labels, probabilities=np.eye(2)[chosen]
        )
    status = {"state": state, "started": "2026-11-01T12:00:00+00:00", "exit_code": 0 if state == "finished" else 1}
    write(folder.status, status)
    return path


def make_sweep(path, axes=None, *, jobs=None, objectives=None, kind="grid", fails=(), epochs=6, results=None, **facts):
    """A sweep folder. jobs: settings of each as texts, all combinations of a grid's axes if they are not given.

    fails: numbers of jobs that end without a result. results: values of the objectives per job, in place of a loss.
    """
    axes = axes or GRID
    if jobs is None:
        jobs = [{}]
        for key, values in axes.items():
            jobs = [{**job, key: value} for job in jobs for value in values]
    objectives = objectives or {"val/loss": "minimize"}
    path.mkdir(parents=True)
    told = {"kind": kind, "command": ["-m", "data=demo"], "overrides": ["data=demo"], "axes": axes, "seed": None}
    told |= {
        "objectives": objectives,
        "sampler": None,
        "pruner": None,
        "jobs": len(jobs),
        "created": "2026-11-01T12:00",
    }
    told |= facts
    write(path / "sweep.json", told)
    fixed = dict(
        word.split("=", 1) for word in told.get("overrides", []) if "." in word.split("=")[0] and "~" not in word
    )
    lines = []
    for number, job in enumerate(jobs):
        failed = number in fails
        start = {"job": number, "event": "started", "overrides": [f"{key}={text}" for key, text in job.items()]}
        lines.append({**start, "trial": number if kind == "search" else None, "time": "2026-11-01T12:00:00+00:00"})
        typed = {key.lstrip("+"): _typed(text) for key, text in {**fixed, **job}.items()}
        make_run(path / str(number), typed, epochs=epochs, state="failed" if failed else "finished")
        values = None if failed else list(results[number]) if results else [final_loss(typed)]
        end = {"job": number, "event": "ended", "state": "failed" if failed else "finished", "values": values}
        reason = "Diverged: the loss is not finite in step 31." if failed else None
        lines.append({**end, "exit_code": 3 if failed else 0, "reason": reason, "time": "2026-11-01T12:01:00+00:00"})
    (path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _typed(text):
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return text
