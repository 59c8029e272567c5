"""Measures a finished run once more, from its own folder: the story of `python -m src.evaluate`."""

import sys
from typing import Any

import lightning

from src.errors import UserError
from src.launch.build import Data, build_data, quiet, trainer_factory
from src.launch.choosing import keep_result, known_threshold, rule_of, typed_rule
from src.launch.evaluating import measure_test, measure_val
from src.launch.finished import adapt_to_machine, kept_tokenizer, load_task, open_run
from src.launch.show import show_metrics, show_threshold
from src.report.run import write_report
from src.run.files import read_json
from src.run.folder import RunFolder
from src.run.ledger import allow


def remeasure(
    *, run_name: str | None, split: str, again: bool, data_path: str | None, threshold: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Metrics of the best checkpoint on val or test; the files of the run folder follow.

    threshold: the rule by which to choose the threshold for test on the kept predictions of val; None is the run's own.

    Raises:
        UserError: unknown run or split, other data than the run was trained on, or a second look at test.
    """
    if split not in ("val", "test"):
        raise UserError(f"split ({split}) must be val or test.")
    run, config = open_run(run_name)
    if split == "test":
        allow(run.path, again)
    rule = rule_of(config) if threshold is None else typed_rule(threshold, config)
    chosen = known_threshold(run, rule, typed=threshold is not None) if split == "test" else {}
    adapt_to_machine(config)
    quiet()
    if data_path is not None:
        config["data"]["path"] = data_path
    tokenizer = kept_tokenizer(run)
    if tokenizer is not None and "tokenizer" in config["data"]:
        # The one it was trained with: another version would train another, and the run of init_from may be gone.
        config["data"]["tokenizer"] = str(tokenizer)
    data = build_data(config)
    data.prepare_data()
    data.setup()
    check_same_data(run, data)
    lightning.seed_everything(config["seed"], verbose=False)
    task, make_trainer = load_task(run, config), trainer_factory(config)
    if split == "val":
        result = measure_val(run, task, data, make_trainer, rule=rule)
    else:
        at, arguments = chosen.get("threshold"), ["python", "-m", "src.evaluate", *sys.argv[1:]]
        tested = measure_test(run, task, data, make_trainer, rule=rule, threshold=at, again=again, arguments=arguments)
        result = chosen | tested
    keep_result(run, result)
    write_report(run.path)
    show_metrics({split: {key: value for key, value in result.items() if key.startswith(f"{split}/")}})
    show_threshold(read_json(run.result) or {})
    return result


def check_same_data(run: RunFolder, data: Data) -> None:
    """Raises UserError when the data is not what env.json says the run was trained on."""
    before = ((read_json(run.environment) or {}).get("data") or {}).get("content")
    now = data.fingerprint.get("content")
    if before != now:
        raise UserError(
            f"data.path ({data.path}) holds other data (fingerprint {now}) than the run was trained on ({before}); "
            "name the old corpus with data_path=DIR."
        )
