"""Finding and reading corpora in every layout, and refusing what is broken in them."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from src.data.source import read_corpus
from src.data.table import Table
from src.errors import UserError

TEXTS = ['good, "very" good\nindeed', "", "  ", "NA", "null", "\U0001f600 naïve", "nul\x00byte", "x" * 200_000]
LABELS = ["pos", "neg"] * 4


def write(path: Path, texts: Sequence[Any], labels: Sequence[Any], names: tuple[str, str] = ("text", "label")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("extra", *names), *(("?", *row) for row in zip(texts, labels, strict=True))])
    elif path.suffix == ".jsonl":
        rows = [{"extra": 1, names[0]: text, names[1]: label} for text, label in zip(texts, labels, strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pyarrow.parquet.write_table(pyarrow.table({names[0]: texts, names[1]: labels, "extra": labels}), path)
    return path


def read(path: Path, split: str = "train") -> Table:
    return read_corpus(path=str(path)).read(split)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_texts_come_back_as_they_were_written(suffix: str, tmp_path: Path) -> None:
    """Empty, blank, NA and null stay text; other readers turn them into missing values."""
    path = write(tmp_path / f"reviews{suffix}", TEXTS, LABELS)
    source = read_corpus(path=str(path))
    assert source.split_names == ("train",)
    found = source.read("train")
    assert list(found.texts) == TEXTS
    assert list(found.labels) == LABELS


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_columns_can_have_any_name(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"reviews{suffix}", ["a"], ["pos"], ("body", "mark"))
    source = read_corpus(path=str(path), text_column="body", label_column="mark")
    assert list(source.read("train").labels) == ["pos"]
    with pytest.raises(UserError, match=r"has no column text; it has .*body, mark"):
        read_corpus(path=str(path)).read("train")


@pytest.mark.parametrize(
    "names",
    [
        ["train.csv", "test.csv"],
        ["train.jsonl", "test.parquet"],
        ["README.md", "notes.csv.bak", "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"],
        ["README.md", "plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"],
        ["data/train-00000-of-00001-abc123.parquet", "data/test-00000-of-00001-0f0f.parquet", ".cache/train.csv"],
    ],
)
def test_usual_folder_layouts_are_found(names: list[str], tmp_path: Path) -> None:
    for name in names:
        if (path := tmp_path / name).suffix in (".csv", ".jsonl", ".parquet"):
            write(path, ["of test" if "test" in name else "of train"], ["pos"])
        else:
            path.write_text("not data")
    source = read_corpus(path=str(tmp_path))
    assert sorted(source.split_names) == ["test", "train"]
    assert list(source.read("test").texts) == ["of test"]
    assert list(source.read("train").texts) == ["of train"]


def test_shards_are_read_in_order_and_errors_name_the_shard(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"train-0000{number}-of-00003.jsonl", [f"{number}a", f"{number}b"], ["pos", "neg"])
    found = read(tmp_path)
    assert list(found.texts) == ["0a", "0b", "1a", "1b", "2a", "2b"]
    assert found.where(3).endswith("train-00001-of-00003.jsonl, line 2")
    (tmp_path / "train-00001-of-00003.jsonl").unlink()
    with pytest.raises(UserError, match="holds 2 of the 3 files of train"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no training file"),
        (["test.csv"], "holds no training file"),
        (["train.csv", "train.jsonl"], "several choices for train"),
        (["small/train.csv", "large/train.csv"], "several choices for train"),
        (["train.csv", "train-00000-of-00001.csv"], "several choices for train"),
    ],
)
def test_a_folder_without_one_clear_training_file_is_refused(names: list[str], message: str, tmp_path: Path) -> None:
    for name in names:
        write(tmp_path / name, ["a"], ["pos"])
    with pytest.raises(UserError, match=message):
        read_corpus(path=str(tmp_path))


@pytest.mark.parametrize(
    "path", ["/nope", "./nope", "nope", "../no/pe", "no/pe.csv", "nope.csv", "a/b/c", "~/no/pe", "a b/c"]
)
def test_a_missing_path_is_refused_without_asking_the_hub(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "src.data.hub", None)
    with pytest.raises(UserError, match="neither a folder nor a file here") as caught:
        read_corpus(path=path)
    assert path in str(caught.value)
    assert "data=demo" in str(caught.value)


@pytest.mark.parametrize("path", [None, ""])
def test_no_path_is_refused(path: str | None) -> None:
    with pytest.raises(UserError, match="must name a corpus"):
        read_corpus(path=path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reviews.txt").write_text("good\n")
    with pytest.raises(UserError, match=r"must end in \.csv, \.jsonl, \.parquet"):
        read_corpus(path=str(tmp_path / "reviews.txt"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "has no column text; it has none"),
        ("a.csv", b"text;label\na;pos\n", "has no column text; it has text;label, which looks separated by ';'"),
        ("a.csv", b"text,label,label\na,pos,1\n", "has 2 columns label"),
        ("a.csv", b"text,label\na,pos\nb\n", "line 3, has 1 field, but the header has 2"),
        ("a.csv", b"text,label\na,pos\n\nso, so,neg\n", "line 4, has 3 fields"),
        ("a.csv", b'text,label\na,pos\n"b\nb",pos\n"never closed,neg\n', "starts at line 5 is not valid csv"),
        ("a.csv", b"text,label\ngood,pos\ncaf\xe9,neg\n", r"line 3, is not UTF-8 \(byte 0xe9\)"),
        ("a.csv", "text,label\na,pos\n".encode("utf-16"), "line 1, is not UTF-8"),
        ("a.jsonl", b'{"text": "a", "label": 0}\n\n{"text": "b", "la', "line 3, is not valid JSON"),
        ("a.jsonl", b'{"text": "a", "label": 0}\n{"text": "b"}\n', "line 2, has no column label; it has text"),
        ("a.jsonl", b'{"text": "a", "label": 0}\n["b", 1]\n', "line 2, must be a JSON object"),
        ("a.jsonl", b'{"text": "a", "label": 0}\n{"text": "\xff", "label": 0}\n', "line 2, is not UTF-8"),
        ("a.jsonl", b"[" * 100_000, "line 1, is not valid JSON"),
        ("a.parquet", b"", "is not a readable parquet file"),
        ("a.parquet", b"PAR1 and nothing more", "is not a readable parquet file"),
    ],
)
def test_a_broken_file_is_named_with_the_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", TEXTS, LABELS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="is not a readable parquet file"):
        read(path)


def test_lines_are_counted_through_quoted_line_breaks_and_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbftext,label\r\n"a\n\nb",0\r\n\r\nc,1\r\n')
    found = read(tmp_path / "a.csv")
    assert list(found.texts) == ["a\n\nb", "c"]
    assert found.lines == [2, 6]
    assert found.where(1).endswith("a.csv, line 6")


def test_reading_csv_leaves_the_limit_of_the_csv_module_alone(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    read(write(tmp_path / "a.csv", TEXTS, LABELS))
    assert csv.field_size_limit() == before


def test_the_fingerprint_follows_the_contents_and_not_the_place(tmp_path: Path) -> None:
    one = write(tmp_path / "one" / "train.csv", ["a"], ["pos"])
    same = write(tmp_path / "same" / "train.csv", ["a"], ["pos"])
    other = write(tmp_path / "other" / "train.csv", ["b"], ["pos"])
    prints = [read_corpus(path=str(path.parent)).fingerprint for path in (one, same, other)]
    assert prints[0] == prints[1] != prints[2]
    assert read_corpus(path=str(one)).fingerprint == prints[0]


def test_an_unreadable_file_is_the_users_error(tmp_path: Path) -> None:
    source = read_corpus(path=str(write(tmp_path / "train.csv", ["a"], ["pos"])))
    (tmp_path / "train.csv").unlink()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        source.read("train")
