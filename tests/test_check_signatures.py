"""Legal settings read from signatures, ours and other packages'."""

import inspect
from typing import Annotated, Any

import pytest

from src.check.signatures import settings_of
from src.check.targets import EXTERNAL, import_target, own_targets
from src.check.third_party import KEYWORDS_OF, STRICTER
from src.errors import UserError


class Parent:
    def __init__(self, width: int, *, depth: "Annotated[int, '>= 1']" = 1, **rest: Any) -> None:
        pass


class Child(Parent):
    def __init__(self, height: "NotImported", **rest: Any) -> None:  # type: ignore[name-defined]  # noqa: F821
        super().__init__(width=1, **rest)


class Heir(Child):
    pass


class Meta(type):
    def __call__(cls, *arguments: Any, **rest: Any) -> Any:
        return super().__call__(*arguments, **rest)


class Odd(metaclass=Meta):
    def __init__(self, size: int = None) -> None:  # type: ignore[assignment]  # noqa: RUF013
        pass


def test_keyword_arguments_of_a_child_are_those_of_its_parents_and_none_of_them_is_required() -> None:
    settings = settings_of(Child)
    assert list(settings) == ["width", "depth", "height"]
    assert [name for name, setting in settings.items() if setting.required] == ["height"]


def test_an_inherited_constructor_is_read_as_if_it_were_its_own() -> None:
    assert settings_of(Heir) == settings_of(Child)


def test_a_postponed_annotation_is_evaluated_and_an_unknown_name_in_it_means_anything() -> None:
    settings = settings_of(Child)
    assert settings["depth"].annotation == Annotated[int, ">= 1"]
    assert settings["height"].annotation is Any


def test_a_metaclass_does_not_hide_the_constructor_and_a_default_of_none_allows_null() -> None:
    assert settings_of(Odd)["size"].annotation == int | None


def test_a_function_keeps_all_its_parameters() -> None:
    def part(first: int, /, second: int, *rest: int, third: int = 3) -> None:
        pass

    settings = settings_of(part)
    assert list(settings) == ["second", "third"]
    assert [setting.positional for setting in settings.values()] == [True, False]


@pytest.mark.parametrize("target", sorted(EXTERNAL - set(KEYWORDS_OF)) + own_targets())
def test_own_parameters_agree_with_inspect(target: str) -> None:
    build = import_target(target, key="x")
    if inspect.isclass(build) and issubclass(build, Exception):
        pytest.skip("a named error is no part")
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    expected = {p.name: p for p in inspect.signature(build).parameters.values() if p.kind in kinds}
    settings = settings_of(build, target=target)
    assert expected.keys() <= settings.keys()
    assert {n for n, s in settings.items() if s.required} == {n for n, p in expected.items() if p.default is p.empty}


@pytest.mark.parametrize("target", sorted(STRICTER))
def test_every_stricter_type_belongs_to_a_parameter_that_exists(target: str) -> None:
    assert target in EXTERNAL
    build = import_target(target, key="x")
    assert STRICTER[target].keys() <= inspect.signature(build).parameters.keys()


@pytest.mark.parametrize("target", sorted(KEYWORDS_OF))
def test_names_behind_keyword_arguments_come_from_where_they_end_up(target: str) -> None:
    build = import_target(target, key="x")
    own = inspect.signature(build).parameters.keys()
    more = settings_of(build, target=target).keys() - own
    known = {"WandbLogger": "group", "TensorBoardLogger": "flush_secs", "PyTorchProfiler": "with_stack"}
    assert known[target.rpartition(".")[2]] in more


def test_a_receiver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "lightning.pytorch.loggers.WandbLogger"
    monkeypatch.setitem(KEYWORDS_OF, target, ("no_such_package", "init"))
    with pytest.raises(UserError, match=r"logger\.wandb .*no_such_package"):
        settings_of(import_target(target, key="x"), target=target, key="logger.wandb")
