"""One suite from its config to its table: the story of `python -m src.benchmark`."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src.check.targets import check_targets
from src.errors import UserError
from src.launch.build import build_data, construct, quiet
from src.launch.compose import CONFIG_FOLDER, plain
from src.launch.show import show_rows
from src.run.environment import describe_environment
from src.run.files import write_json


def run_suite(composed: DictConfig) -> list[dict[str, Any]]:
    """Run `suite` on `data`, print its rows and write them to outputs/benchmark with machine, versions and command."""
    config = plain(composed)
    if config.get("suite") is None:
        known = ", ".join(sorted(path.stem for path in (CONFIG_FOLDER / "suite").glob("*.yaml")))
        raise UserError(f"suite is missing: choose one of {known}, as in suite=lstm.")
    check_targets(config)
    quiet()
    data = build_data(config)
    rows = construct(config, "suite")(data=data)
    show_rows(rows)
    folder = Path(config["paths"]["output_dir"]) / "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{config['suite']['_target_'].split('.')[2]}.json"
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
