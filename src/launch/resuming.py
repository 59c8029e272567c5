"""`resume`: whether a run continues what its folder holds, and what is left to be done there."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from src.errors import UserError
from src.launch.differences import check_length, differing_facts, find_changes
from src.launch.joining import find_saved, join, moved
from src.run.files import read_json
from src.run.folder import RunFolder
from src.run.index import read_config
from src.run.ledger import read_ledger
from src.run.manifest import find_best, find_last
from src.run.origin import read_origin
from src.run.status import FINISHED, PRUNED
from src.sweep.journal import SWEEP

NEVER, AUTO, MUST = MODES = ("never", "auto", "must")


class Opened(NamedTuple):
    """A run folder and the config to train with in it; `finished` if nothing is left to be done."""

    run: RunFolder
    config: dict[str, Any]
    finished: bool


def base_config(composed: DictConfig, *, typed: list[str], folder: Path) -> tuple[DictConfig, Path]:
    """What to check and train, and where: as composed, or that of `resume=<run folder>` or `branch_from` with the
    typed changes.

    Raises:
        UserError: no such run, or a change that cannot be joined to its config.
    """
    goes_on = isinstance(composed.resume, str) and composed.resume not in MODES
    if isinstance(composed.branch_from, str):
        if goes_on:
            raise UserError(
                f"resume ({composed.resume}) goes on in that run's folder, branch_from ({composed.branch_from}) begins "
                "a new one; give one of them."
            )
        from src.launch.branching import branch_config

        return branch_config(composed, typed=typed, folder=folder)
    if not goes_on:  # a value of another type is refused by the check of types
        return composed, folder
    try:
        found, saved = find_saved(composed.resume, root=Path(composed.paths.output_dir), key="resume")
    except UserError as error:
        if (Path(composed.resume) / SWEEP).is_file():
            raise UserError(f"resume ({composed.resume}) is a sweep; it goes on with -m resume=...") from None
        raise UserError(f"resume must be {', '.join(MODES)} or a run folder: {error}") from None
    place = Path(saved["paths"]["run_dir"])
    if place.resolve() != found.resolve():
        saved, place = moved(saved, str(place), str(found)), found
    return join(saved, composed, typed=typed)[0], place


def open(config: dict[str, Any], folder: Path) -> Opened:
    """Take the folder for a checked config; one in which nothing is left to be done is only looked at.

    Raises:
        UserError: the folder is in use; it holds a run and resume=never, or nothing to continue and that was asked
            for; another config or only damaged checkpoints are there, here or where a branch begins.
    """
    mode, run = config["resume"], RunFolder(folder)
    if mode == NEVER:
        return Opened(_claim(config, run, resume=False), config, finished=False)
    finished = (read_json(run.status) or {}).get("state") in (FINISHED, PRUNED)
    last = find_last(run.checkpoints)
    if last is None and mode != AUTO and not finished:
        raise UserError(
            f"resume ({mode}) found no checkpoint in {folder}. Use resume=auto to start where there is nothing to "
            "continue, or name the folder of a run that was trained for a while."
        )
    saved = read_config(folder)
    if saved and (finished or last is not None):
        saved = moved(saved, saved["paths"]["run_dir"], config["paths"]["run_dir"])
        changed = find_changes(saved, config, named=config["resume_changes"], place=str(folder))
        if last is not None:
            check_length(config, last, place=str(folder))
        config = _kept(saved, config)
        _check_reader(config, run)
        if finished and not changed:
            return Opened(run, config, finished=True)
    return Opened(_claim(config, run, resume=True), config, finished=False)


def _claim(config: dict[str, Any], run: RunFolder, *, resume: bool) -> RunFolder:
    """Take the folder, and let a branch begin in it that has not yet."""
    from src.launch.branching import begin, find_beginning  # needs torch, which is there by now

    start = find_beginning(config, run)
    claimed = RunFolder.claim(run.path, resume=resume)
    if start is not None:
        begin(config, claimed, start)
    return claimed


def _kept(saved: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The config with what was drawn for the run when it first started."""
    logger = {name: dict(entry) if entry else entry for name, entry in config["logger"].items()}
    before = saved["logger"].get("wandb") or {}
    if logger.get("wandb") and before.get("id"):
        logger["wandb"]["id"] = before["id"]
    return {**config, "logger": logger}


def _check_reader(config: dict[str, Any], run: RunFolder) -> None:
    if not config["callbacks"].get("checkpoint") and find_last(run.checkpoints) is not None:
        raise UserError("callbacks has no checkpoint, which also reads those of the run; use callbacks=default.")


def check_data(config: dict[str, Any], run: RunFolder, fingerprint: dict[str, Any]) -> None:
    """Call before env.json is written anew.

    Raises:
        UserError: the run has been trained on other data, and resume_changes does not hold `data`.
    """
    before = (read_json(run.environment) or read_origin(run.path)).get("data") or {}
    if find_last(run.checkpoints) is None or "data" in config["resume_changes"]:
        return
    if different := differing_facts(before, json.loads(json.dumps(fingerprint))):
        raise UserError(
            f"The run in {run.path} was trained on other data: {'; '.join(different)}. Put it back, or accept that "
            "with resume_changes=[data]."
        )


def known_test(run: RunFolder) -> dict[str, Any] | None:
    """What an earlier process measured on the test split and did not live to write; None if none has.

    Empty if it was with other weights: then a second look is for `evaluate` and its again=true.
    """
    entries, best = read_ledger(run.path), find_best(run.checkpoints)
    if not entries:
        return None
    last = entries[-1]
    if last.get("checkpoint_sha256") == (None if best is None else best.identity) and "metrics" in last:
        return {**last["metrics"], "test/again": last["again"]}
    print(
        f"The test split was used before, with other weights of this run; not again without asking: python -m "
        f"src.evaluate run={run.path} split=test again=true",
        flush=True,
    )
    return {}
