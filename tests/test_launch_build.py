"""From a checked section to an object, and the constructor's own refusals in a sentence."""

import pytest

from src.errors import UserError
from src.launch.build import build_named, construct


def refuse_value(*, size):
    raise ValueError(f"size ({size}) must be even")


def lack_package():
    raise ModuleNotFoundError("No module named 'imaginary'")


def give(*, size, part=None):
    return size, part


def section(function, **settings):
    return {"part": {"_target_": f"{__name__}.{function.__name__}", **settings}}


def test_parts_are_given_beside_the_settings():
    part = object()
    assert construct(section(give, size=3), "part", part=part) == (3, part)


def test_a_partial_section_waits_for_its_parts():
    assert construct(section(give, size=3, _partial_=True), "part")(part=1) == (3, 1)


def test_a_refused_value_names_the_section():
    with pytest.raises(UserError, match=r"part: size \(3\) must be even"):
        construct(section(refuse_value, size=3), "part")


def test_a_missing_package_is_no_traceback():
    with pytest.raises(UserError, match="part needs a package that is not installed: No module named 'imaginary'"):
        construct(section(lack_package), "part")


def test_an_entry_set_to_null_is_left_out_and_the_others_stay():
    entries = {"first": section(give, size=1)["part"], "second": None}
    assert build_named({"callbacks": entries}, "callbacks") == [(1, None)]
