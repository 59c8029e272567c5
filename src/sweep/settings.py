"""Settings that name what they are for, `{name: tpe, startup: 5}`: checked against the function they are given to."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from src.errors import UserError

T = TypeVar("T")


def named(settings: Mapping[str, Any], makers: Mapping[str, Callable[..., T]], *, key: str, **given: Any) -> T:
    """What the maker of that name makes of its settings, all of which it needs; `given` are not the user's.

    Raises:
        UserError: another name, a setting that the maker does not have, one that is missing, or one that is no count.
    """
    name = str(settings.get("name"))
    if name not in makers:
        raise UserError(f"{key}.name ({name}) must be one of {', '.join(makers)}.")
    maker = makers[name]
    legal = [parameter for parameter in inspect.signature(maker).parameters if parameter not in given]
    typed = {setting: value for setting, value in settings.items() if setting != "name"}
    for setting, value in typed.items():
        if setting not in legal:
            raise UserError(
                f"{key}.{setting} ({value}) is not a setting of {name}; it has {', '.join(legal) or 'none'}."
            )
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UserError(f"{key}.{setting} ({value}) must be a whole number >= 0.")
    for setting in legal:
        if setting not in typed:
            group = key.replace(".", "/")
            raise UserError(f"{key}.{setting} is missing: {name} needs a number there. Choose all with {group}={name}.")
    return maker(**typed, **given)
