"""The best config of a sweep as an experiment of its own, so that it can be trained again, and tested, by name."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from src.errors import UserError
from src.run.files import write_text
from src.run.index import read_config
from src.run.secrets import REDACTED
from src.run.yaml_scan import walk
from src.run.yaml_text import to_yaml
from src.sweep.ranking import Group, Ranking, rank, spread
from src.sweep.read import SEED, Sweep

NAME = "experiment/best.yaml"
SEEDS = (1, 2, 3)
CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "conf"
EXPERIMENT = "experiment"
# Composed after an experiment, so that one which only named them would not get its own values through.
_AFTER = ("hparams_search", "debug")
_LEFT_OUT = (SEED, "test")  # the seed is not what was found, and the test split is now to be asked


class Recipe:
    """Group choices in the order in which they are typed, and dotted keys, of what differs from the defaults."""

    def __init__(self, config_folder: Path, added: Path | None = None) -> None:
        self.config_folder, self.added = config_folder, added
        self.experiments: list[str] = []
        self.choices: dict[str, str | list[str] | None] = {}
        self.keys: list[str] = []
        self.typed: list[str] = []  # what no file can say

    def take(self, override: str) -> None:
        """One override of a command line."""
        name, _, text = override.partition("=")
        key, value = name.lstrip("+"), text.strip("'\"")
        if name.startswith("~"):
            self.typed.append(override)
        elif not (self.config_folder / key.partition("@")[0]).is_dir():
            self.keys.append(key)
        elif value == "null":
            self.choices[key] = None
        else:
            self.choose(key, value, override=override)

    def choose(self, group: str, value: str, *, override: str) -> None:
        """A choice of a group, or a list of them."""
        names = listed(value)
        files = [self.file(group, name) for name in names]
        ours = all(file.is_relative_to(self.config_folder) for file in files)
        if not all(file.is_file() for file in files) or not (ours or group in (EXPERIMENT, *_AFTER)):
            raise UserError(f"{override} is a choice of another folder than {self.config_folder}; copy it there.")
        if group in _AFTER or not ours:
            for name in reversed(names):  # the last one wins
                self.unfold(group, name)
        elif group == EXPERIMENT:
            self.experiments = names
        else:
            self.choices[group] = names if value.startswith("[") else value

    def unfold(self, group: str, choice: str) -> None:
        """What a file of a group says, in place of its name."""
        content = yaml.safe_load(self.file(group, choice).read_text(encoding="utf-8")) or {}
        defaults = content.pop("defaults", [])
        for name, value in (pair for entry in defaults if isinstance(entry, dict) for pair in entry.items()):
            key = name.removeprefix("override ").strip().lstrip("/")
            if not key.startswith("hydra"):
                self.choices.setdefault(key, value)
        for entry in defaults:
            if isinstance(entry, str) and entry != "_self_":
                self.unfold(group, entry)  # its choices yield to those above
        content.pop("hydra", None)
        self.keys += [key for key, value in walk(content) if not isinstance(value, dict) or not value]

    def file(self, group: str, choice: str) -> Path:
        """Of a choice, in the folder of --config-dir if ours has none."""
        name = Path(group.partition("@")[0], f"{choice}.yaml")
        ours = self.config_folder / name
        return ours if self.added is None or ours.is_file() else self.added / name


def listed(value: str) -> list[str]:
    """The names of a choice, one or `[several,of them]`."""
    return [name.strip() for name in value.strip("[]").split(",")]


def write_best(sweep: Path, *, config_folder: Path = CONFIG_FOLDER, added: Path | None = None) -> Path | None:
    """Write experiment/best.yaml into the sweep folder; None if no job has measured anything.

    added: the folder of --config-dir; experiments of it are not named but unfolded, as they may go.

    Raises:
        UserError: it is no sweep, or its best job says what no file of ours can.
    """
    ranking = rank(sweep)
    group = ranking.best
    if group is None:
        return None
    job = min((job for job in group.jobs if job.values is not None), key=lambda job: _cost(ranking.sweep, job.values))
    recipe = Recipe(config_folder, added)
    typed = [*(ranking.sweep.facts.get("overrides") or []), *(f"{k}={v}" for k, v in job.params.items())]
    for override in sorted(
        typed, key=lambda word: word.lstrip("+").startswith(f"{EXPERIMENT}=")
    ):  # all others win over it
        recipe.take(override)
    body = to_yaml(_content(recipe, read_config(job.folder)))
    about = "\n".join(f"# {line}" for line in _about(ranking, group, recipe))
    path = sweep / NAME
    path.parent.mkdir(exist_ok=True)
    write_text(path, f"# @package _global_\n{about}\n{body}")
    return path


def _cost(sweep: Sweep, values: tuple[float, ...] | None) -> float:
    assert values is not None
    return sweep.signs[0] * values[0]


def _content(recipe: Recipe, config: dict[str, Any]) -> dict[str, Any]:
    """Values are those that the job was trained with, whatever words they were typed in."""
    choices = [{f"override /{key}": choice} for key, choice in recipe.choices.items()]
    defaults: list[Any] = [*recipe.experiments, "_self_", *choices]
    content: dict[str, Any] = {"defaults": defaults}
    values = dict(walk(config))
    for key in dict.fromkeys(recipe.keys):
        if key in _LEFT_OUT:
            continue
        if key not in values:
            raise UserError(f"The config of the best job has no {key}, which the sweep has set; see its config.yaml.")
        if values[key] == REDACTED:
            recipe.typed.append(f"{key}={REDACTED}")  # to be typed again
        else:
            _put(content, key.split("."), values[key])
    return content | {"test": True}


def _put(node: dict[str, Any], parts: list[str], value: Any) -> None:
    for part in parts[:-1]:
        node = node.setdefault(part, {})
    node[parts[-1]] = value


def command(sweep: Path, typed: list[str]) -> str:
    """Trains the best config anew with several seeds; for a shell, from the folder of this process."""
    near = os.path.relpath(sweep)
    place = str(sweep.absolute()) if near.startswith("..") else near
    seeds = ",".join(map(str, SEEDS))
    words = ["-m", "--config-dir", place, "experiment=best", *typed, f"seed={seeds}"]
    return shlex.join(["python", "-m", "src.train", *words])


def _about(ranking: Ranking, group: Group, recipe: Recipe) -> Iterator[str]:
    sweep = ranking.sweep
    scores = ", ".join(f"{name} {spread(group, place)}" for place, name in enumerate(sweep.objectives))
    seeds = f" over {group.n} seeds" if group.n > 1 else ""
    numbers = ", ".join(str(job.number) for job in group.jobs)
    yield f"Best of {len(sweep.jobs)} jobs in {sweep.path.resolve().name}: {scores}{seeds} (job {numbers})."
    front = sum(each.front for each in ranking.groups)
    if len(sweep.objectives) > 1 and front > 1:
        yield f"It is the best in {next(iter(sweep.objectives))} of {front} configs that no other one beats in all."
    if group.failed:
        yield f"{group.failed} of its seeds failed."
    elif group is not ranking.groups[0]:
        yield "A config with a better mean was passed over, as not all of its seeds have finished."
    yield "It was chosen by validation. This trains it anew with several seeds and asks the test split once for each:"
    yield f"  {command(sweep.path, recipe.typed)}"
