"""Hydra's and OmegaConf's exceptions as the one or two sentences that a person who typed something wrong needs."""

from collections.abc import Iterator
from pathlib import Path

import yaml
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)

from src.check.nearest import nearest, suggestion
from src.errors import UserError
from src.launch.neighbours import (
    added_folder,
    choices_holding,
    choices_of,
    composed_without,
    elsewhere,
    groups_of,
    override_parts,
    siblings,
)


def explain(
    exception: BaseException, *, arguments: list[str], config_dir: Path, config_name: str = "train"
) -> str | None:
    """What was typed wrong and what was meant, or None if the exception is not the user's doing.

    `arguments` are those of the command line, `config_dir` the folder of the config groups. Hydra has to run with
    HYDRA_FULL_ERROR=1, else it prints and exits by itself.
    """
    for error in _chain(exception):
        if isinstance(error, UserError):
            return str(error)
    if isinstance(exception, InstantiationException):
        return None
    if isinstance(exception, yaml.MarkedYAMLError):
        return _broken_file(exception)
    if isinstance(exception, MissingConfigException):
        return _missing_file(exception, arguments, config_dir)
    if isinstance(exception, OverrideParseException):
        return _unreadable(exception)
    if isinstance(exception, ConfigCompositionException):
        return _refused_override(exception, arguments, config_dir, config_name)
    if isinstance(exception, OmegaConfBaseException):
        return _value(exception)
    if isinstance(exception, HydraException):
        return _first_line(exception)
    if isinstance(exception, ValueError) and str(exception).startswith("Config group override must be a string"):
        return _no_file_named(arguments, config_dir)
    return None


def _chain(exception: BaseException | None) -> Iterator[BaseException]:
    while exception is not None:
        yield exception
        exception = exception.__cause__ or exception.__context__


def _first_line(exception: BaseException) -> str:
    line = next(iter(str(exception).strip().splitlines()), type(exception).__name__)
    return line if line.endswith(".") else f"{line}."


def _broken_file(exception: yaml.MarkedYAMLError) -> str:
    mark = exception.problem_mark or exception.context_mark
    place = f"{mark.name}, line {mark.line + 1}" if mark else "A config file"
    return f"{place} is not valid YAML: {exception.problem or exception.context}."


def _missing_file(exception: MissingConfigException, arguments: list[str], config_dir: Path) -> str:
    """`model=bilstn`, from the command line or from a defaults list."""
    group, _, name = (exception.missing_cfg_file or "").rpartition("/")
    folders = [folder for folder in (config_dir, added_folder(arguments)) if folder is not None]
    files = [file for folder in folders for file in (folder / group).glob("*.yaml")]
    options = sorted(file.stem for file in files)
    if not group:
        return f"There is no config {name}.yaml{suggestion(name, options)}"
    if not options:
        guess = nearest(group, groups_of(config_dir))
        return f"{group}={name}: there is no group {group}" + (f"; did you mean {guess}?" if guess else ".")
    return f"{group}={name} is not a choice{suggestion(name, options, prefix=f'{group}=')}"


def _unreadable(exception: OverrideParseException) -> str:
    override = exception.override or ""
    if "=" not in override:
        return f"{override!r} needs a value: write {override.partition(':')[0]}=VALUE."
    return (
        f"{override!r} cannot be read: {_first_line(exception)} "
        "A value with brackets, commas or spaces is written in quotes: 'key=\"a, b\"'."
    )


def _refused_override(
    exception: ConfigCompositionException, arguments: list[str], config_dir: Path, config_name: str
) -> str:
    message = str(exception)
    quoted = message.split("'")
    if message.startswith("Could not override"):
        return _unknown_key(quoted[1], arguments, config_dir, config_name)
    if message.startswith("Could not append to config. An item"):
        return f"+{quoted[1]} adds a key that is already there; write {quoted[1]}=VALUE to change it."
    if message.startswith("Could not delete"):
        return _unknown_key(quoted[1], arguments, config_dir, config_name)
    if message.startswith("Ambiguous value"):
        key, value = override_parts(quoted[1])[:2]
        return f"{key} ({value}) is several values: add -m to try each of them, or write {key}=[{value}] for a list."
    if "appears more than once in the final defaults list" in message:
        group = message.split()[0].split("@")[0]
        return f"+{group} chooses {group} a second time; write {group}=CHOICE to change the choice."
    cause = exception.__cause__
    return _first_line(exception) + (f" {_first_line(cause)}" if cause else "")


def _unknown_key(key: str, arguments: list[str], config_dir: Path, config_name: str) -> str:
    """`optimizer.lrr=1` or `optimiser=adam`: the key is looked up in the config that the other arguments compose."""
    override = next((a for a in arguments if override_parts(a)[0] == key), key)
    shown = f"{key} ({override_parts(override)[1]})" if "=" in override else key
    group = key.partition("@")[0]
    composed = composed_without(override, arguments, config_dir, config_name)
    if group in groups_of(config_dir) and group not in composed:
        return f"{shown}: this run has no group {group}; it exists only for the models that list it."
    parent, _, name = key.rpartition(".")
    legal = siblings(composed, parent)
    holding = choices_holding(key, config_dir)
    if holding and nearest(name, legal or []) is None:
        return f"{shown} is a setting of {' or '.join(holding)}, not of what this run has chosen."
    if legal is None:
        top, _, rest = key.partition(".")
        sections = list(composed)
        guess = nearest(top, sections)
        if top in sections:
            return f"{shown} is not a setting: {parent} holds no keys."
        hint = f"; did you mean {guess}.{rest}?" if guess else f". Legal: {', '.join(sections)}."
        return f"{shown} is not a setting of this config{hint}"
    if not parent:
        legal = sorted({*legal, *groups_of(config_dir)})
    meant = elsewhere(composed, name)
    if nearest(name, legal) is None and meant:
        return f"{shown} is not a setting{'' if not parent else f' of {parent}'}; did you mean {' or '.join(meant)}?"
    hint = suggestion(name, legal, prefix=f"{parent}." if parent else "")
    more = f" One that conf/ does not list is added with +{key}=VALUE." if parent else ""
    return f"{shown} is not a setting of {parent or 'this config'}{hint}{more}"


def _value(exception: OmegaConfBaseException) -> str | None:
    """A value that cannot be resolved; any other OmegaConf error is a wrong access, which is ours."""
    key = exception.full_key
    if isinstance(exception, MissingMandatoryValue):
        return f"{key} has no value yet; give one: {key}=VALUE."
    if isinstance(exception, InterpolationKeyError | InterpolationResolutionError | UnsupportedInterpolationType):
        return f"{key} cannot be computed: {_first_line(exception)}"
    return None


def _no_file_named(arguments: list[str], config_dir: Path) -> str | None:
    for argument in arguments:
        key, value, _ = override_parts(argument)
        if key in groups_of(config_dir):
            options = choices_of(key, config_dir)
            if value not in options:
                return f"{key} ({value}) must name a choice: {', '.join(options)}."
    return "An override has no key, or a group no choice; write group=CHOICE or key=VALUE."
