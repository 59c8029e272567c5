"""Another decision threshold for a finished run, from predictions_val.npz: no network, no data, no look at test."""

from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from src.check.config import check_finite, check_part, check_sections
from src.check.facts import Facts, ask
from src.check.rules_task import CLASSIFIER, threshold_needs_two_classes
from src.check.targets import check_targets
from src.errors import UserError
from src.evaluation.thresholds import Rule, choose_on_val
from src.launch.joining import find_saved
from src.launch.settings import THRESHOLD
from src.launch.show import show_threshold
from src.report.run import write_report
from src.run.files import read_json
from src.run.folder import RunFolder
from src.run.predictions import read_predictions
from src.run.result import update_result

# How the names begin that a threshold leaves in result.json.
CHOICE = ("threshold", "val_at", "test_at")


def rule_of(config: dict[str, Any]) -> Rule:
    """The rule of a run's checked config."""
    return instantiate(config.get("threshold", THRESHOLD))


def typed_rule(threshold: dict[str, Any], config: dict[str, Any]) -> Rule:
    """The rule that was typed for the run of `config`.

    Raises:
        UserError: a wrong value, or a run without two classes.
    """
    typed = {"threshold": threshold}
    check_targets(typed)
    check_finite(typed)
    check_sections(typed)
    check_part(threshold, key="threshold")
    sentence = threshold_needs_two_classes({**config, **typed}, Facts(cuda=False, bf16=False))
    if sentence is not None:
        raise UserError(sentence)
    if ask(config, "task._target_", CLASSIFIER) != CLASSIFIER:  # f1 is legal there as long as nobody types it
        raise UserError("threshold=f1 cuts between two classes and this is a language model; leave it out.")
    return instantiate(threshold)


def choose_again(*, run_name: str | None, threshold: dict[str, Any], data_path: str | None) -> None:
    """Choose the threshold of a run anew, put it into result.json, print it, write the report.

    Raises:
        UserError: no such run, a wrong value, no predictions, or a setting that has no effect here.
    """
    if data_path is not None:
        raise UserError(f"data_path ({data_path}) has no effect: another threshold needs no data; leave it out.")
    if run_name is None:
        raise UserError("run is missing: name a run folder, run=outputs/train/<date>_<time>_<model>_<id>.")
    folder, config = find_saved(run_name, root=Path("outputs"), key="run")
    run = RunFolder(folder)
    keep_result(run, choose_from_kept(run, typed_rule(threshold, config)))
    write_report(run.path)
    show_threshold(read_json(run.result) or {})


def choose_from_kept(run: RunFolder, rule: Rule) -> dict[str, Any]:
    """What `rule` chooses on the kept predictions of val.

    Raises:
        UserError: there are none.
    """
    try:
        found = read_predictions(run.predictions_val)
    except ValueError as error:
        raise UserError(f"{error}; python -m src.evaluate run={run.path} writes it again.") from None
    if found is None:
        raise UserError(
            f"run ({run.path}) has no predictions_val.npz; python -m src.evaluate run={run.path} writes it."
        )
    return choose_on_val(rule, found.labels, found.probabilities)


def known_threshold(run: RunFolder, rule: Rule, *, typed: bool) -> dict[str, Any]:
    """What result.json holds of the threshold to apply to test; a typed rule first chooses on the kept predictions.

    Raises:
        UserError: none was typed, and the one in result.json was chosen by another rule than that of the run.
    """
    if typed:
        return choose_from_kept(run, rule)
    result = read_json(run.result) or {}
    chosen_by = _chosen(result)[1]
    if "threshold" in result and chosen_by != str(rule):
        raise UserError(
            f"The threshold in {run.result} was chosen by another rule ({chosen_by}) than that of the run ({rule}). "
            "Say which one: threshold=f1, precision or cost, with its values."
        )
    return {name: value for name, value in result.items() if name.startswith(CHOICE[0])}


def keep_result(run: RunFolder, result: dict[str, Any]) -> None:
    """Put what was measured into result.json; what was measured at another threshold leaves it."""
    before = read_json(run.result) or {}
    forget = [names for names in CHOICE if any(name.startswith(names) for name in result)]
    if "threshold" in result and _chosen(result) != _chosen(before):
        if "test_at" not in forget and any(name.startswith("test_at") for name in before):
            print(
                f"test was measured at the threshold that was chosen before, {before['threshold']:.4f}: those numbers "
                f"stay in {run.ledger} and leave result.json.",
                flush=True,
            )
        forget = list(CHOICE)
    update_result(run.result, result, forget=tuple(forget))


def _chosen(result: dict[str, Any]) -> tuple[Any, Any]:
    """Threshold and rule; f1 was the only one when none was written down."""
    return result.get("threshold"), result.get("threshold_rule", "f1")
