"""Goes on with a sweep: `-m resume=<sweep>` finds its command, and what is typed must be what it was started with."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.launch.free_text import quote
from src.launch.resuming import AUTO, MODES, NEVER
from src.run.secrets import REDACTED, redact_arguments
from src.sweep.journal import SWEEP, read_sweep

MULTIRUN = {"-m", "--multirun"}
# What a continued sweep must have in common with what it was; max_failures, n_trials or the launcher may change.
SAME = ("kind", "overrides", "axes", "objectives", "sampler", "pruner", "seed")


def sweep_command(arguments: Sequence[str]) -> list[str]:
    """What Hydra is to read: `-m resume=<sweep>` is replaced by that sweep's own command, in its folder.

    Raises:
        UserError: there is no such sweep, or its command held a secret, which no file keeps.
    """
    named = [argument for argument in arguments if argument.startswith("resume=")]
    name = named[-1].partition("=")[2].strip("'\"") if named else NEVER
    if name in MODES or not MULTIRUN & set(arguments):
        return list(arguments)
    root = next((a.partition("=")[2] for a in reversed(arguments) if a.startswith("paths.output_dir=")), "outputs")
    sweep = find_sweep(name, root=Path(root))
    command = read_sweep(sweep)["command"]
    if any(REDACTED in word for word in command):
        raise UserError(
            f"The command of {sweep} held a secret, which is not kept. Type it again with hydra.sweep.dir={sweep} "
            "resume=auto."
        )
    kept = [word for word in command if not word.startswith(("resume=", "hydra.sweep.dir="))]
    added = [word for word in arguments if word not in MULTIRUN and word not in kept and word not in named]
    place = quote(f"hydra.sweep.dir={sweep.absolute()}", keys=("hydra.sweep.dir",))
    return [*kept, *added, place, f"resume={AUTO}"]


def find_sweep(name: str, *, root: Path) -> Path:
    """The folder of a sweep, given that, or the end of its name where only one below `root` has it.

    Raises:
        UserError: none or several; the newest are listed.
    """
    if (Path(name) / SWEEP).is_file():
        return Path(name)
    sweeps = sorted(path.parent for path in root.glob(f"sweeps/*/{SWEEP}"))
    found = [sweep for sweep in sweeps if name and sweep.name.endswith(name)]
    if len(found) == 1:
        return found[0]
    which = "fits several sweeps" if found else f"is no sweep, with -m, and no name below {root}/sweeps"
    shown = ", ".join(sweep.name for sweep in reversed(found or sweeps[-5:])) or "none"
    raise UserError(f"resume ({name}) {which}: {shown}. Without -m it continues a single run.")


def open_sweep(sweep: Path, facts: dict[str, Any], *, resume: str) -> bool:
    """True if the folder holds this sweep already, so that it is to be continued.

    Raises:
        UserError: it holds one and that was not asked for, another one, runs of something else, or none to continue.
    """
    if resume not in MODES:
        raise UserError(f"resume ({resume}) must be {', '.join(MODES)} or a sweep folder.")
    if not (sweep / SWEEP).exists():
        if resume not in (NEVER, AUTO):
            raise UserError(f"resume ({resume}) found no sweep in {sweep}. Use resume=auto to start one there.")
        if sweep.is_dir() and any(path.name.isdecimal() or path.name == "config.yaml" for path in sweep.iterdir()):
            raise UserError(f"The folder {sweep} holds runs of something else. Choose another hydra.sweep.dir.")
        return False
    if resume == NEVER:
        raise UserError(f"The folder {sweep} already holds a sweep. Continue it with -m resume={sweep}.")
    saved = read_sweep(sweep)
    saved["axes"] = axes_without_secrets(saved["axes"])  # an older version kept them
    different = [name for name in SAME if saved[name] != facts[name]]
    if different:
        lines = "; ".join(f"{name} {difference(saved[name], facts[name])}" for name in different)
        raise UserError(
            f"The sweep in {sweep} was started with another command: {lines}. Continue it unchanged with "
            f"-m resume={sweep}, or start another one."
        )
    return True


def difference(saved: Any, typed: Any) -> str:
    """What two values do not share, in words."""
    if isinstance(saved, dict) and isinstance(typed, dict):
        keys = [key for key in {**saved, **typed} if saved.get(key) != typed.get(key)]
        return ", ".join(f"{key} was {shown(saved.get(key))}, is {shown(typed.get(key))}" for key in keys)
    if isinstance(saved, list) and isinstance(typed, list):
        lost = [str(word) for word in saved if word not in typed]
        new = [str(word) for word in typed if word not in saved]
        return ", ".join([f"without {word}" for word in lost] + [f"with {word}" for word in new]) or "in another order"
    return f"was {shown(saved)}, is {shown(typed)}"


def shown(value: Any) -> str:
    """A value of sweep.json as it would be typed."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def axes_without_secrets(axes: Mapping[str, Any]) -> dict[str, Any]:
    """Axes as sweep.json may keep them: the list of values of each one in a grid, its text in a search."""

    def hidden(key: str, text: str) -> str:
        return without_secrets([f"{key}={text}"])[0].partition("=")[2]

    return {
        key: [hidden(key, text) for text in axis] if isinstance(axis, list) else hidden(key, str(axis))
        for key, axis in axes.items()
    }


def without_secrets(words: Sequence[str]) -> list[str]:
    """Arguments as a file may keep them."""
    return shlex.split(redact_arguments(list(words)))
