"""What a space says is what is drawn from, and a wrong one is refused before any job, with key, value and way out."""

import pytest

from src.errors import UserError
from src.sweep.axes import Choice, Real, Whole
from src.sweep.space import read_axis, read_space


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("log(1e-4, 1e-2)", Real(low=1e-4, high=1e-2, log=True)),
        ("tag(log, interval(1e-4,1e-2))", Real(low=1e-4, high=1e-2, log=True)),
        ("interval(0.1, 0.5)", Real(low=0.1, high=0.5)),
        ("interval(-1, 1)", Real(low=-1.0, high=1.0)),
        ("int(16, 128)", Whole(low=16, high=128)),
        ("int(16, 128, 16)", Whole(low=16, high=128, step=16)),
        ("int(16, 130, 16)", Whole(low=16, high=128, step=16)),
        ("int(log(16, 256))", Whole(low=16, high=256, log=True)),
        ("int(interval(1,5))", Whole(low=1, high=5)),
        ("range(1,5)", Whole(low=1, high=4)),
        ("range(0,10,3)", Whole(low=0, high=9, step=3)),
        ("range(3)", Whole(low=0, high=2)),
        ("choice(64, 128)", Choice(values=("64", "128"))),
        ("choice(adam)", Choice(values=("adam",))),
        ("1,2, 3", Choice(values=("1", "2", "3"))),
        ("choice([1,2], 'a,b', {c: 3, d: 4}, f(1,2))", Choice(values=("[1,2]", "'a,b'", "{c: 3, d: 4}", "f(1,2)"))),
    ],
)
def test_every_form_is_one_axis(text, axis):
    assert read_axis(text, key="a") == axis


@pytest.mark.parametrize(
    "text", ["log(0.0001, 0.01)", "interval(-1.0, 1.0)", "int(16, 128, 16)", "int(log(16, 256))", "choice(64, [1,2])"]
)
def test_an_axis_reads_what_it_writes(text):
    assert str(read_axis(text, key="a")) == text


def test_the_counts_are_those_of_python():
    assert Whole(low=16, high=128, step=16).count == len(range(16, 129, 16))
    assert (Choice(values=("a", "b")).count, Real(low=0, high=1).count) == (2, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("log(1e-2, 1e-4)", "the first number must be below the second"),
        ("interval(0.5, 0.5)", "the first number must be below the second"),
        ("log(0, 1e-2)", "must begin above 0"),
        ("log(-1, 1)", "must begin above 0"),
        ("log(1e-4)", "two numbers"),
        ("interval(1, 2, 3)", "two numbers"),
        ("interval(1, x)", "x is no number"),
        ("interval(1, inf)", "must be a finite number"),
        ("int(0.5, 2)", "must have whole numbers"),
        ("int(1, 8, 8)", "with a step between"),
        ("int(1, 8, 0)", "with a step between"),
        ("int(log(0, 8))", "must begin above 0"),
        ("int(choice(1, 2))", "is no number"),
        ("range(1, 4, 0.5)", "must have whole numbers"),
        ("choice()", "empty choice"),
        ("choice(1,,2)", "empty choice"),
        ("choice(1, 1)", "has 1 twice"),
        ("tag(slow, interval(1, 2))", "no other tag"),
        ("normal(0, 1)", "must be one of log"),
        ("0.1", "is one value and no axis"),
        ("", "is one value and no axis"),
        ([64, 128], "must be text"),
        (3, "must be text"),
    ],
)
def test_a_wrong_axis_is_refused_with_its_key_and_value(text, words):
    with pytest.raises(UserError, match=words) as refused:
        read_space({"model.hidden": text})
    assert f"model.hidden ({text})" in str(refused.value)


def test_a_space_is_written_flat_or_typed_as_keys_below_keys():
    typed = {"optimizer": {"lr": "log(1e-4, 1e-2)"}, "model.hidden": "choice(64, 128)"}
    assert list(read_space(typed)) == ["optimizer.lr", "model.hidden"]
    with pytest.raises(UserError, match=r"has optimizer.lr twice"):
        read_space({**typed, "optimizer.lr": "log(1e-4, 1e-2)"})
    with pytest.raises(UserError, match="is empty"):
        read_space({})


def test_a_drawn_number_is_short_and_stays_between_the_bounds():
    axis = Real(low=0.12344, high=0.999999)
    assert [axis.round(value) for value in (0.12344, 0.5555555, 0.9999985)] == [0.12344, 0.5556, 0.999999]


@pytest.mark.parametrize(
    ("low", "high"), [(0.9999, 0.99999), (1, 1.01), (100, 101), (-1.001, -1), (0.9, 0.999), (0, 1e-9)]
)
@pytest.mark.parametrize("log", [False, True])
def test_a_narrow_axis_has_a_hundred_numbers_all_the_same(low, high, log):
    if log and low <= 0:
        pytest.skip("has no logarithm")
    axis = Real(low=low, high=high, log=log)
    values = [low + (high - low) * place / 1000 for place in range(1001)]
    assert len({axis.round(value) for value in values}) >= 100
    assert all(abs(axis.round(value) - value) <= (high - low) / 200 * (1 + 1e-6) for value in values)


@pytest.mark.parametrize(
    ("low", "high"), [(0.1, 0.5), (0.0, 0.5), (1e-4, 1e-1), (0.9, 0.999), (0.9, 1.0), (-3.0, 7.0), (1, 2)]
)
def test_an_axis_of_ordinary_width_has_four_digits(low, high):
    """What a search has drawn so far stays what it draws."""
    assert Real(low=low, high=high).digits == 4
