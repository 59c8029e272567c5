"""One run from the checked config to its report: the story of `python -m src.train`."""

import resource
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any

import lightning

from src.callbacks.continuation import seconds_before
from src.callbacks.interruption import obey
from src.callbacks.pruning import why_pruned
from src.check.global_batch import count_devices
from src.errors import Pruned
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
from src.launch.choosing import rule_of
from src.launch.evaluating import MakeTrainer, measure_test, measure_val
from src.launch.plan import describe
from src.launch.rank import Process, Rank
from src.launch.resuming import check_data, known_test
from src.launch.show import show_config, show_metrics, show_threshold
from src.launch.starting import load_start
from src.logger.continuing import close_loggers
from src.report.run import reported_if_failed, write_report
from src.run.checkpoint import load_verified
from src.run.environment import describe_environment
from src.run.files import read_json, write_json
from src.run.folder import RunFolder
from src.run.manifest import find_best, find_last
from src.run.result import write_result
from src.run.secrets import find_secrets, redact
from src.run.signals import Signals
from src.run.status import recording
from src.strategy.apply import restore_weights


def train_run(
    config: dict[str, Any], run: RunFolder, *, signals: Signals, command: Sequence[str] | None = None
) -> None:
    """Train what a checked config says in a claimed folder: here, or in one process per device of this machine.

    command: what makes this run, if that is not the command line of this process.

    Raises:
        UserError: the data is wrong.
        Diverged: loss, gradient or the monitored metric stopped being finite.
        RankFailed: one of the processes failed otherwise.
    """
    known = find_secrets(config)
    with reported_if_failed(run.path), recording(run, known=known):
        run.write_config(config)
        run.write_command(list(command or ["python", "-m", "src.train", *sys.argv[1:]]), config=config)
        # Standard output is a file too, on a cluster.
        show_config(redact(config, known=known), title=str(run.path))
        processes = count_devices(config["trainer"]["devices"])
        if processes == 1:
            train(config, run, Process(signals=signals))
        else:
            from src.launch.processes import run_processes

            run_processes(config, run, count=processes, signals=signals)
    conclude(run)


def train(config: dict[str, Any], run: RunFolder, process: Process) -> None:
    """Train, evaluate the best weights on val and once on test, write every file of the run folder but the report.

    All ranks do the same; what a run writes once, the first one writes. Signals end the preparation at once, and
    training where nothing is lost.
    """
    started = time.monotonic()
    quiet()
    data = prepare_data(config, run, process.rank)
    lightning.seed_everything(config["seed"], verbose=False)
    network = build_network(config)
    start = load_start(config, network)
    task = build_task(config, network)
    print(describe(config, network), flush=True)
    make_trainer = trainer_factory(config, process)
    with process.signals.held():
        trainer = fit(config, run, task, data, make_trainer)
        started -= seconds_before(trainer)
        # The others must not read checkpoints before the first rank has written the last one.
        trainer.strategy.barrier("fit")
        obey(process.signals)
        result = {"run": run.path.name, "seed": config["seed"], **start}
        result |= summarise(trainer, task) | restore_best(run, task)
        pruned = why_pruned(trainer)
        result |= scores_of_best(run) if pruned else evaluate(config, run, task, data, make_trainer)
        obey(process.signals)
        if process.rank.first:
            write_result(run.result, result | {"seconds": round(time.monotonic() - started, 1)})
        close_loggers(trainer, result)
        if pruned:
            raise Pruned(pruned)


def conclude(run: RunFolder) -> None:
    """Write the report of a finished run and print val and test side by side, the threshold, and where things are."""
    run.clear_temporary()  # an earlier process may have been killed right here
    write_report(run.path)
    result = read_json(run.result) or {}
    show_metrics({split: {k: v for k, v in result.items() if k.startswith(f"{split}/")} for split in ("val", "test")})
    show_threshold(result)
    checkpoint = next((path for path in (run.best, run.last) if path.exists()), "none, callbacks holds no checkpoint")
    print(f"report      {run.report}\ncheckpoint  {checkpoint}", flush=True)


def prepare_data(config: dict[str, Any], run: RunFolder, rank: Rank) -> Data:
    """The data module, read and split; env.json and the vocabulary or tokenizer beside it say what it found.

    Of the ranks of a machine one builds a missing cache, while the others wait for its lock.
    """
    data = build_data(config)
    data.prepare_data()
    data.setup()
    check_data(config, run, data.fingerprint)
    if rank.first:
        write_json(run.environment, describe_environment(seed=config["seed"], data=data.fingerprint))
        data.save(run.path)
    return data


def fit(
    config: dict[str, Any],
    run: RunFolder,
    task: Task,
    data: Data,
    make_trainer: MakeTrainer,
) -> lightning.Trainer:
    """Train until the trainer or a callback says enough, from the newest good checkpoint on if the folder holds one."""
    trainer = make_trainer(callbacks=build_callbacks(config), logger=build_named(config, "logger"))
    start = None if find_last(run.checkpoints) is None else run.last
    trainer.fit(task, datamodule=data, ckpt_path=start)
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
    restore_weights(task, load_verified(best.path)["state_dict"])
    return {"best_epoch": best.epoch + 1, "best_step": best.step}


def scores_of_best(run: RunFolder) -> dict[str, Any]:
    """What the validation of the best checkpoint found, for a run that is not worth another one."""
    best = find_best(run.checkpoints)
    return {} if best is None else dict(best.scores)


def evaluate(
    config: dict[str, Any],
    run: RunFolder,
    task: Task,
    data: Data,
    make_trainer: MakeTrainer,
) -> dict[str, Any]:
    """val, then test once if the config says so."""
    arguments = shlex.split(run.command.read_text(encoding="utf-8"))
    limits = config["trainer"]
    rule = rule_of(config)
    result = measure_val(run, task, data, make_trainer, rule=rule) if limits["limit_val_batches"] != 0 else {}
    if not config["test"] or limits["limit_test_batches"] == 0:
        return result
    known = known_test(run)
    if known is not None:
        return result | known
    at = result.get("threshold")
    tested = measure_test(run, task, data, make_trainer, rule=rule, threshold=at, again=False, arguments=arguments)
    return result | tested
