"""Measures a finished run once more, from its own folder: the story of `python -m src.evaluate`."""

import sys
from typing import Any

import lightning

from src.errors import UserError
from src.launch.build import Data, build_data, quiet, trainer_factory
from src.launch.evaluating import measure_test, measure_val
from src.launch.finished import adapt_to_machine, kept_tokenizer, load_task, open_run
from src.launch.show import show_metrics
from src.report.page import write_report
from src.run.files import read_json
from src.run.folder import RunFolder
from src.run.ledger import allow
from src.run.result import update_result


def remeasure(*, run_name: str | None, split: str, again: bool, data_path: str | None) -> dict[str, Any]:
    """Metrics of the best checkpoint on val or test; the files of the run folder follow.

    Raises:
        UserError: unknown run or split, other data than the run was trained on, or a second look at test.
    """
    if split not in ("val", "test"):
        raise UserError(f"split ({split}) must be val or test.")
    run, config = open_run(run_name)
    if split == "test":
        allow(run.path, again)
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
        result = measure_val(run, task, data, make_trainer)
    else:
        threshold = (read_json(run.result) or {}).get("threshold")
        arguments = ["python", "-m", "src.evaluate", *sys.argv[1:]]
        result = measure_test(run, task, data, make_trainer, threshold=threshold, again=again, arguments=arguments)
    update_result(run.result, result)
    write_report(run.path)
    show_metrics({split: {key: value for key, value in result.items() if key.startswith(f"{split}/")}})
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
