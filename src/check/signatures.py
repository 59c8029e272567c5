"""The legal settings of a class or function, read from its signature."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from src.check.third_party import KEYWORDS_OF, STRICTER
from src.errors import UserError


@dataclass(frozen=True)
class Setting:
    """One parameter: its type (Any where none is known), and whether it has no default."""

    annotation: Any
    required: bool
    positional: bool


def settings_of(build: Callable[..., Any], *, target: str = "", key: str = "") -> dict[str, Setting]:
    """Name to setting, in the order of the signature.

    Names behind **kwargs are those of the function that `third_party.KEYWORDS_OF` says receives them, else those of the
    parent constructors. Any other name is refused: a constructor that swallows a typo is no reason to let it pass.

    Raises:
        UserError: the receiver of the **kwargs is in a package that is not installed.
    """
    nearest_constructor, *parents = _constructors(build)
    found = _named(nearest_constructor)
    if target in KEYWORDS_OF:
        module, name = KEYWORDS_OF[target]
        try:
            receiver = getattr(importlib.import_module(module), name)
        except ImportError as error:
            raise UserError(f"{key} ({target}) needs a package that is not installed: {error}.") from error
        parents = _constructors(receiver)
    for parent in parents if _takes_any(nearest_constructor) else []:
        # What is required behind **kwargs, the nearest constructor passes by itself.
        found = {name: replace(setting, required=False) for name, setting in _named(parent).items()} | found
        if not _takes_any(parent):
            break
    for name, annotation in STRICTER.get(target, {}).items():
        found[name] = Setting(annotation, found[name].required, found[name].positional)
    return found


def _constructors(build: Callable[..., Any]) -> list[Callable[..., Any]]:
    """A function itself; of a class the `__init__` methods of its line, nearest first. A metaclass is not asked."""
    if not inspect.isclass(build):
        return [build]
    own = [vars(kind)["__init__"] for kind in build.__mro__[:-1] if inspect.isfunction(vars(kind).get("__init__"))]
    return own or [build]


def _named(constructor: Callable[..., Any]) -> dict[str, Setting]:
    found = [p for p in _parameters(constructor) if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return {parameter.name: _setting(parameter, constructor) for parameter in found}


def _parameters(constructor: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        parameters = list(inspect.signature(constructor).parameters.values())
    except ValueError:  # a constructor written in C that does not tell
        return []
    # An `__init__` taken from the class is a plain function and still has its self.
    return parameters[1:] if getattr(constructor, "__name__", "") == "__init__" else parameters


def _takes_any(constructor: Callable[..., Any]) -> bool:
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in _parameters(constructor))


def _setting(parameter: inspect.Parameter, constructor: Callable[..., Any]) -> Setting:
    annotation = parameter.annotation
    if annotation is parameter.empty:
        annotation = Any
    if isinstance(annotation, str):
        annotation = _evaluate(annotation, constructor)
    if parameter.default is None and annotation is not Any:
        annotation = annotation | None
    positional = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    return Setting(annotation, parameter.default is parameter.empty, positional)


def _evaluate(annotation: str, constructor: Callable[..., Any]) -> Any:
    """A postponed annotation in the globals of its function; Any if a name is missing there (TYPE_CHECKING imports)."""
    function: Any = inspect.unwrap(constructor)
    try:
        return eval(annotation, getattr(function, "__globals__", {}))
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any
