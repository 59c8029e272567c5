"""`resume`: whether a run continues what its folder holds, and what is left to be done there."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from src.check.targets import check_targets
from src.errors import UserError
from src.launch.compose import CONFIG_FOLDER
from src.launch.differences import differing_facts, find_changes
from src.run.files import read_json
from src.run.folder import RunFolder
from src.run.index import find_run, read_config
from src.run.ledger import read_ledger
from src.run.manifest import find_best, find_last
from src.run.status import FINISHED

NEVER, AUTO, MUST = MODES = ("never", "auto", "must")
# Groups that may be chosen anew for resume=<run folder>, with the part of the config that they are.
GROUPS = {"strategy": "trainer.strategy", "callbacks": "callbacks", "logger": "logger", "launcher": "launcher"}


class Opened(NamedTuple):
    """A run folder and the config to train with in it; `finished` if nothing is left to be done."""

    run: RunFolder
    config: dict[str, Any]
    finished: bool


def base_config(composed: DictConfig, *, typed: list[str], folder: Path) -> tuple[DictConfig, Path]:
    """What to check and train, and where: as composed, or that of `resume=<run folder>` with the typed changes.

    Raises:
        UserError: no such run, or a change that cannot be joined to its config.
    """
    if composed.resume in MODES or not isinstance(composed.resume, str):  # which the check of types will say
        return composed, folder
    try:
        found = find_run(composed.resume, root=Path(composed.paths.output_dir)).path
    except UserError as error:
        raise UserError(f"resume must be {', '.join(MODES)} or a run folder: {error}") from None
    saved = read_config(found)
    if not saved:
        raise UserError(f"resume ({composed.resume}) has no config.yaml: it ended before it began. Start a new run.")
    check_targets(saved)
    place = Path(saved["paths"]["run_dir"])
    if place.resolve() != found.resolve():
        saved, place = _moved(saved, str(place), str(found)), found
    base = OmegaConf.create(saved)
    keys = [key for override in typed if (key := _key(override)) not in ("resume", "resume_changes")]
    raw = OmegaConf.create(OmegaConf.to_container(composed, resolve=False))
    for key in keys:
        OmegaConf.update(base, key, OmegaConf.select(raw, key), merge=False, force_add=True)
    # Where a run goes on is said anew each time.
    for key, local in (("launcher", {}), ("dry_run", False)):
        OmegaConf.update(base, key, OmegaConf.select(raw, key, default=local), merge=False, force_add=True)
    named = sorted({*composed.resume_changes, *keys})
    OmegaConf.update(base, "resume", composed.resume, force_add=True)
    OmegaConf.update(base, "resume_changes", named, merge=False, force_add=True)
    base.paths.run_dir = None
    return base, place


def _key(override: str) -> str:
    """The dotted key of a composed config that an override of the command line sets."""
    parsed = OverridesParser.create().parse_override(override)
    key = parsed.key_or_group
    if key in GROUPS:
        return GROUPS[key]
    if parsed.is_delete() or "/" in key or (CONFIG_FOLDER / key).is_dir():
        raise UserError(
            f"{override} cannot be joined to the saved config of a run; change single values, as in "
            f"trainer.max_epochs=20, or {', '.join(GROUPS)} as a whole."
        )
    return key


def _moved(node: Any, before: str, after: str) -> Any:
    """The tree with the paths that lay in a folder under its new name."""
    if isinstance(node, dict):
        return {key: _moved(value, before, after) for key, value in node.items()}
    if isinstance(node, list):
        return [_moved(value, before, after) for value in node]
    inside = isinstance(node, str) and (node == before or node.startswith(f"{before}/"))
    return after + node[len(before) :] if inside else node


def open(config: dict[str, Any], folder: Path) -> Opened:
    """Take the folder for a checked config; one in which nothing is left to be done is only looked at.

    Raises:
        UserError: the folder is in use; it holds a run and resume=never, or nothing to continue and that was asked
            for; another config or only damaged checkpoints are there.
    """
    mode, run = config["resume"], RunFolder(folder)
    if mode == NEVER:
        return Opened(RunFolder.claim(folder), config, finished=False)
    finished = (read_json(run.status) or {}).get("state") == FINISHED
    if find_last(run.checkpoints) is None and mode != AUTO and not finished:
        raise UserError(
            f"resume ({mode}) found no checkpoint in {folder}. Use resume=auto to start where there is nothing to "
            "continue, or name the folder of a run that was trained for a while."
        )
    saved = read_config(folder)
    if saved:
        saved = _moved(saved, saved["paths"]["run_dir"], config["paths"]["run_dir"])
        changed = find_changes(saved, config, named=config["resume_changes"], place=str(folder))
        config = _kept(saved, config)
        _check_reader(config, run)
        if finished and not changed:
            return Opened(run, config, finished=True)
    return Opened(RunFolder.claim(folder, resume=True), config, finished=False)


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
    before = (read_json(run.environment) or {}).get("data") or {}
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
