"""Values against annotations, compared with a table written by hand."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ForwardRef, Literal, Optional, TypedDict, Union

import pytest

from src.check.values import choices, fits, show, wish, within

PART = {"_target_": "torch.optim.Adam"}
SAMPLES: dict[str, Any] = {
    "null": None,
    "true": True,
    "one": 1,
    "half": 0.5,
    "word": "abc",
    "empty": [],
    "numbers": [1, 2],
    "words": ["a", "b"],
    "mapping": {"a": 1},
    "part": PART,
}


class Sizes(TypedDict):
    a: int


# Annotation and the samples that fit it; every other sample must not.
TABLE: list[tuple[Any, str]] = [
    (int, "one"),
    (float, "one half"),
    (bool, "true"),
    (str, "word"),
    (None, "null"),
    (type(None), "null"),
    (Optional[int], "null one"),  # noqa: UP045 - the old spelling is what other packages write
    (int | None, "null one"),
    (Union[float, "Path"], " ".join(SAMPLES)),  # a forward reference is not understood, so nothing is refused
    (ForwardRef("Run"), " ".join(SAMPLES)),
    (Any, " ".join(SAMPLES)),
    (object, " ".join(SAMPLES)),
    (Literal["abc", "x"], "word"),
    (Literal[1], "one"),
    (Literal[True, "warn"], "true"),
    (list, "empty numbers words"),
    (list[int], "empty numbers"),
    (list[str], "empty words"),
    (Sequence[int], "empty numbers part"),
    (Iterable[str], "empty words part"),
    (tuple[int, int], "numbers"),
    (tuple[int, ...], "empty numbers"),
    (tuple[int, int, int], ""),
    (dict[str, int], "mapping"),
    (dict[str, Any], "mapping"),
    (Mapping[str, str], "part"),
    (Sizes, "mapping"),
    (Path, "word"),
    (os.PathLike[str], "word"),
    (str | Path | None, "null word"),
    (Callable[..., int], "part"),
    (Exception, "part"),
    (float | Exception, "one half part"),
    (Annotated[float, ">= 1"], "one"),
    (Annotated[int | float, "> 0, < 1"], "half"),
    (Annotated[float, "<= 0"], ""),
    (Annotated[int | None, ">= 1"], "null one"),
    (Annotated[int, 7], "one"),
]


@pytest.mark.parametrize(("annotation", "legal"), TABLE, ids=str)
def test_exactly_the_listed_samples_fit(annotation: Any, legal: str) -> None:
    fitting = [name for name, value in SAMPLES.items() if fits(value, annotation)]
    assert fitting == [name for name in SAMPLES if name in legal.split()]


@pytest.mark.parametrize("rule", [">= 0", "> 0", "<= 1", "< 1", "> 0, < 1", ">= 0, <= 1", ">= -1.5"])
def test_bounds_agree_with_python_itself(rule: str) -> None:
    for value in (-2, -1.5, 0, 0.0, 1e-12, 0.5, 1, 1.0, 7):
        assert within(value, rule) == all(eval(f"value {bound}", {"value": value}) for bound in rule.split(","))


def test_a_malformed_bound_is_an_error_of_ours_and_not_ignored() -> None:
    with pytest.raises((KeyError, ValueError)):
        within(1, "at least 0")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[int, ">= 1"] | None, "a whole number >= 1 or null"),
        (int | float, "a number"),
        (Literal["min", "max"], "one of min, max"),
        (bool | Literal["warn"], "true or false or warn"),
        (Annotated[float, ">= 0, < 1"], "a number >= 0 and < 1"),
        (float | Exception, "a number"),
        (Callable[..., int] | None, "a part (_target_) or null"),
        (list[str], "a list, each element text"),
        (tuple[float, float], "a list of 2, each a number"),
        (dict[str, int], "a mapping"),
        (str | Path, "text"),
    ],
    ids=str,
)
def test_a_wish_is_said_in_words(annotation: Any, words: str) -> None:
    assert wish(annotation) == words


def test_values_are_shown_as_they_are_typed() -> None:
    assert [show(value) for value in (None, True, False, "", "a", 1.5)] == ["null", "true", "false", "''", "a", "1.5"]


def test_the_words_of_a_union_of_literals_are_all_choices() -> None:
    assert choices(int | Literal["auto"] | Literal["all", 3] | None) == ["auto", "all"]
