"""The command line of a sweep, taken apart: what all jobs share, and the axes along which they differ."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser

from src.errors import UserError

# What concerns the sweep as a whole; the jobs are told by their frozen config.
OF_THE_SWEEP = ("resume", "dry_run")
# What decides how the sweep itself is made has one value.
SINGLE = (*OF_THE_SWEEP, "hparams_search", "launcher", "paths.output_dir")


@dataclass(frozen=True, kw_only=True)
class Typed:
    """fixed: overrides as they were typed; axes: the text after `=` of each one with several values."""

    fixed: tuple[str, ...]
    axes: dict[str, str]
    resume: str
    dry_run: bool


def take_apart(arguments: Sequence[str]) -> Typed:
    """The overrides of a command line that are not Hydra's own.

    Raises:
        UserError: several values for something that a sweep has one of.
    """
    fixed: list[str] = []
    axes: dict[str, str] = {}
    of_the_sweep: dict[str, str] = {}
    for override in OverridesParser.create().parse_overrides(list(arguments)):
        key, line = override.get_key_element(), override.input_line or ""
        text = line.partition("=")[2]
        if override.is_sweep_override():
            if key in SINGLE:
                raise UserError(f"{line}: a sweep has one {key}; start another sweep for each of them.")
            if key.lstrip("+") in names_of(axes):
                raise UserError(f"{line}: {key.lstrip('+')} has several values already; write all of them in one list.")
            axes[key] = text
        elif key in OF_THE_SWEEP:
            of_the_sweep[key] = text
        else:
            fixed.append(line)
    for line in fixed:
        if line.partition("=")[0].lstrip("+") in names_of(axes):
            raise UserError(f"{line} is typed twice, once with several values; leave one of them out.")
    dry_run = of_the_sweep.get("dry_run", "false").lower()
    if dry_run not in ("true", "false"):
        raise UserError(f"dry_run ({dry_run}) must be true or false.")
    return Typed(fixed=tuple(fixed), axes=axes, resume=of_the_sweep.get("resume", "never"), dry_run=dry_run == "true")


def names_of(axes: Mapping[str, str]) -> set[str]:
    """The keys of axes, however they are written into the config."""
    return {key.lstrip("+") for key in axes}


def values_of(axes: Mapping[str, str], *, parser: OverridesParser) -> dict[str, list[str]]:
    """The values of each axis of a grid. parser: one with a config loader, which glob(*) asks for the choices.

    Raises:
        UserError: an axis that is an interval, or has a value twice.
    """
    found = {}
    for key, text in axes.items():
        (override,) = parser.parse_overrides([f"{key}={text}"])  # which hands on the loader
        if not override.is_discrete_sweep():
            raise UserError(
                f"{key} ({text}) has no list of values; give one, or search in it with hydra/sweeper=optuna."
            )
        found[key] = list(override.sweep_string_iterator())
        twice = [value for value in found[key] if found[key].count(value) > 1]
        if twice:
            raise UserError(f"{key} ({text}) has {twice[0]} twice; each value is one job.")
    return found


def grid(axes: Mapping[str, list[str]]) -> list[tuple[str, ...]]:
    """What each job has of its own: every combination, the last axis fastest."""
    return [
        tuple(f"{key}={value}" for key, value in zip(axes, values, strict=True))
        for values in itertools.product(*axes.values())
    ]
