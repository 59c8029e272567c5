"""Which labels and texts are legal, and what is said about the others."""

from typing import Any

import pytest

from src.data.labels import check_texts, label_numbers
from src.data.table import Table, join_tables
from src.errors import UserError

NAMES = ["neg", "pos"]


def table(labels: list[Any], lines: list[int] | None = None) -> Table:
    return Table(["a text"] * len(labels), labels, "reviews.csv", lines)


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [([0, 1, 0], [0, 1, 0]), (["0", "1"], [0, 1]), (["pos", "neg"], [1, 0]), ([1], [1]), ([], [])],
)
def test_numbers_digits_and_names_are_labels(labels: list[Any], numbers: list[int]) -> None:
    assert label_numbers(table(labels), NAMES).tolist() == numbers


def test_names_that_look_like_digits_are_names() -> None:
    assert label_numbers(table(["2", "1", "2"]), ["1", "2"]).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "bad",
    [
        -1,
        2,
        None,
        1.0,
        0.0,
        True,
        False,
        float("nan"),
        "2",
        "-1",
        "1.0",
        "01",
        " 1",
        "\u0661",
        "Pos",
        "positive",
        "",
        [1],
        10**30,
        "9" * 30,
    ],
)
@pytest.mark.parametrize("good", [0, "0", "neg"])
def test_anything_else_is_refused_with_count_and_place(bad: object, good: object) -> None:
    """Binary cross-entropy would take -1 without a word and report a loss of 20."""
    with pytest.raises(UserError) as caught:
        label_numbers(table([good, good, bad, good, bad], lines=[2, 3, 4, 6, 7]), NAMES)
    assert "2 of 5 rows" in str(caught.value)
    assert "reviews.csv, line 4" in str(caught.value)
    assert repr(bad)[:10] in str(caught.value)
    assert "neg, pos" in str(caught.value)


@pytest.mark.parametrize("labels", [[0, "pos"], ["0", "pos"], [0, "1"], ["neg", 1]])
def test_a_mixture_of_kinds_is_refused(labels: list[Any]) -> None:
    with pytest.raises(UserError, match=r"1 of 2 rows .* row 1.* mixture"):
        label_numbers(table(labels), NAMES)


@pytest.mark.parametrize("bad", [-1, None, "maybe"])
def test_a_table_of_nothing_but_bad_labels_is_refused(bad: object) -> None:
    with pytest.raises(UserError, match="50 of 50 rows"):
        label_numbers(table([bad] * 50), NAMES)


@pytest.mark.parametrize("text", ["", "  ", "NA", "null", "nan", "None", "\x00", "\ud800"])
def test_any_text_is_a_text(text: str) -> None:
    assert check_texts(Table([text], [0], "reviews.csv")) == [text]


@pytest.mark.parametrize("bad", [None, 3, 1.5, b"bytes", ["a"], float("nan")])
def test_a_missing_text_is_refused_with_count_and_place(bad: object) -> None:
    with pytest.raises(UserError, match=r"2 of 3 rows have no text, first part-2\.jsonl, line 9"):
        check_texts(
            join_tables([Table(["a"], [0], "part-1.jsonl", [1]), Table([bad, None], [0, 0], "part-2.jsonl", [9, 11])])
        )


def test_the_error_shows_the_start_of_a_long_label() -> None:
    with pytest.raises(UserError) as caught:
        label_numbers(table([0, "x" * 10_000]), NAMES)
    assert len(str(caught.value)) < 400


def test_words_that_are_no_labels_yet_are_answered_with_the_settings_for_them() -> None:
    with pytest.raises(UserError, match=r"2 of 2 rows have.*'data\.label_names=\[bad,good\]'\.$"):
        label_numbers(table(["good", "bad"]), NAMES)
    with pytest.raises(
        UserError, match=r"1 of 3 rows has.*=\[mixed,neg,pos\]' model\.num_classes=3 task\.num_classes=3"
    ):
        label_numbers(table(["neg", "mixed", "pos"]), NAMES)


def test_a_column_of_empty_texts_is_refused() -> None:
    with pytest.raises(UserError, match=r"All 2 texts of reviews\.csv are empty"):
        check_texts(Table(["", " "], [0, 1], "reviews.csv"))
