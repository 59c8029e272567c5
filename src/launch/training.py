"""One run from the checked config to its report: the story of `python -m src.train`."""

import resource
import sys
import time
from typing import Any

import lightning

from src.launch.build import (
    Data,
    Task,
    build_callbacks,
    build_data,
    build_named,
    build_network,
    build_task,
    count_parameters,
    quiet,
    trainer_factory,
)
from src.launch.evaluating import MakeTrainer, measure_test, measure_val
from src.launch.plan import describe
from src.launch.show import show_config, show_metrics
from src.launch.starting import load_start
from src.report.page import write_report
from src.run.checkpoint import load_verified
from src.run.environment import describe_environment
from src.run.files import write_json
from src.run.folder import RunFolder
from src.run.manifest import find_best
from src.run.result import write_result
from src.run.secrets import find_secrets, redact
from src.run.status import recording


def train_run(config: dict[str, Any], run: RunFolder) -> dict[str, Any]:
    """Train, evaluate the best weights on val and once on test, write every file of the run folder.

    Raises:
        UserError: the data is wrong.
        Diverged: loss, gradient or the monitored metric stopped being finite.
    """
    started = time.monotonic()
    with recording(run, known=find_secrets(config)):
        arguments = ["python", "-m", "src.train", *sys.argv[1:]]
        run.write_config(config)
        run.write_command(arguments, config=config)
        # Standard output is a file too, on a cluster.
        show_config(redact(config, known=find_secrets(config)), title=str(run.path))
        quiet()
        data = prepare_data(config, run)
        lightning.seed_everything(config["seed"], verbose=False)
        network = build_network(config)
        start = load_start(config, network)
        task = build_task(config, network)
        print(describe(config, network), flush=True)
        make_trainer = trainer_factory(config)
        trainer = fit(config, task, data, make_trainer)
        result = {"run": run.path.name, "seed": config["seed"], **start}
        result |= summarise(trainer, task) | restore_best(run, task)
        result |= evaluate(config, run, task, data, make_trainer, arguments=arguments)
        for logger in trainer.loggers:
            logger.log_metrics({key: value for key, value in result.items() if key.startswith("test/")})
            logger.finalize("success")
        write_result(run.result, result | {"seconds": round(time.monotonic() - started, 1)})
    write_report(run.path)
    announce(result, run)
    return result


def announce(result: dict[str, Any], run: RunFolder) -> None:
    """Print val and test side by side, the chosen threshold, and where report and checkpoint are."""
    show_metrics({split: {k: v for k, v in result.items() if k.startswith(f"{split}/")} for split in ("val", "test")})
    if "threshold" in result:
        at = {name.replace("_at_threshold", ""): v for name, v in result.items() if name.endswith("_at_threshold/f1")}
        figures = "  ".join(f"{name} {value:.4f}" for name, value in at.items())
        print(f"at the threshold with the best F1 on val, {result['threshold']:.3f}: {figures}")
    checkpoint = next((path for path in (run.best, run.last) if path.exists()), "none, callbacks holds no checkpoint")
    print(f"report      {run.report}\ncheckpoint  {checkpoint}", flush=True)


def prepare_data(config: dict[str, Any], run: RunFolder) -> Data:
    """The data module, read and split; env.json and the vocabulary or tokenizer beside it say what it found."""
    data = build_data(config)
    data.prepare_data()
    data.setup()
    write_json(run.environment, describe_environment(seed=config["seed"], data=data.fingerprint))
    data.save(run.path)
    return data


def fit(
    config: dict[str, Any],
    task: Task,
    data: Data,
    make_trainer: MakeTrainer,
) -> lightning.Trainer:
    """Train until the trainer or a callback says enough."""
    trainer = make_trainer(callbacks=build_callbacks(config), logger=build_named(config, "logger"))
    trainer.fit(task, datamodule=data)
    return trainer


def summarise(trainer: lightning.Trainer, task: Task) -> dict[str, Any]:
    """What training took: epochs, optimizer steps, speed of the last epoch, peak memory in bytes."""
    values = {key: float(value) for key, value in trainer.callback_metrics.items() if "val/" not in key}
    return {
        "parameters": count_parameters(task.network),
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "skipped_steps": task.guard.skipped,
        # Linux counts in KiB.
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        **values,
    }


def restore_best(run: RunFolder, task: Task) -> dict[str, Any]:
    """Put the best checkpoint's weights into the task; without any, the last weights stay."""
    best = find_best(run.checkpoints)
    if best is None:
        return {"best_epoch": None, "best_step": None}
    task.load_state_dict(load_verified(best.path)["state_dict"])
    return {"best_epoch": best.epoch + 1, "best_step": best.step}


def evaluate(
    config: dict[str, Any],
    run: RunFolder,
    task: Task,
    data: Data,
    make_trainer: MakeTrainer,
    *,
    arguments: list[str],
) -> dict[str, Any]:
    """val, then test once if the config says so."""
    limits = config["trainer"]
    result = measure_val(run, task, data, make_trainer) if limits["limit_val_batches"] != 0 else {}
    if not config["test"] or limits["limit_test_batches"] == 0:
        return result
    threshold = result.get("threshold")
    return result | measure_test(run, task, data, make_trainer, threshold=threshold, again=False, arguments=arguments)
