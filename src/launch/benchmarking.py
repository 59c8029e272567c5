"""One suite from its config to its table: the story of `python -m src.benchmark`."""

import inspect
import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src.check.targets import check_targets
from src.errors import UserError
from src.launch.build import build_data, construct, quiet
from src.launch.compose import CONFIG_FOLDER, plain
from src.launch.overhead import contenders
from src.launch.show import show_rows
from src.run.environment import describe_environment
from src.run.files import write_json


def run_suite(composed: DictConfig, *, typed: Sequence[str]) -> list[dict[str, Any]]:
    """Run `suite`, on the parts it takes, if any; print its rows and keep them in outputs/benchmark.

    The file beside them says machine, versions and command. typed: the overrides.

    Raises:
        UserError: no suite, or an override of what the suite does not take.
    """
    config = plain(composed)
    if config.get("suite") is None:
        known = ", ".join(sorted(path.stem for path in (CONFIG_FOLDER / "suite").glob("*.yaml")))
        raise UserError(f"suite is missing: choose one of {known}, as in suite=lstm.")
    check_targets(config)
    quiet()
    suite = construct(config, "suite")
    makers = {"data": lambda: build_data(config), "contenders": lambda: contenders}
    taken = inspect.signature(suite).parameters
    name = config["suite"]["_target_"].split(".")[2]
    ignored = [each for each in typed if "data" not in taken and re.match(r"\+*(data|seed)\b", each)]
    if ignored:
        instead = " or give it in suite.overrides" if "overrides" in taken else ""
        raise UserError(f"{ignored[0]} would be ignored by suite={name}; leave it out{instead}.")
    rows = suite(**{name: make() for name, make in makers.items() if name in taken})
    show_rows(rows)
    folder = Path(config["paths"]["output_dir"]) / "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}.json"
    command = " ".join(["python", "-m", "src.benchmark", *sys.argv[1:]])
    write_json(
        path,
        {
            "command": command,
            "rows": json.loads(json.dumps(rows)),
            "environment": describe_environment(seed=config["seed"]),
        },
    )
    print(path)
    return rows
