"""Texts for people: a row as its source has it, or what it was tokenised into where the source is gone."""

import csv
from pathlib import Path

import pytest

from src.data.module import Reviews
from src.data.source import read_corpus

TRAIN = [(f"Film {n}: <b>so-so</b>, WORD{n % 7} twice?", "neg" if n < 50 else "pos") for n in range(100)]
TEST = [(f"Late film {n}!", "neg" if n < 10 else "pos") for n in range(20)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "corpus"
    path.mkdir()
    for name, rows in (("train", TRAIN), ("test", TEST)):
        with open(path / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    return path


def reviews(path: Path, **changes) -> Reviews:
    settings = {"label_names": ["neg", "pos"], "cache_dir": str(path.parent / "cache"), "vocab_size": 270}
    module = Reviews(path=str(path), reader=read_corpus, **{**settings, **changes})
    module.prepare_data()
    module.setup()
    return module


@pytest.mark.parametrize("split", ["holdout", "official"])
def test_rows_are_the_texts_of_the_file(folder, split):
    """val rows are rows of train.csv, test rows those of the split that the data module cut them from."""
    module = reviews(folder, split=split)
    for side, rows in (("val", TRAIN), ("test", TEST if split == "official" else TRAIN)):
        wanted = module.views[side].rows[:5].tolist()
        assert module.texts(side, wanted) == ([rows[row][0] for row in wanted], True)


@pytest.mark.parametrize("tokenizer", ["words", "bpe"])
@pytest.mark.parametrize("fate", ["gone", "changed", "shorter"])
def test_without_the_source_the_tokens_are_shown_and_said_to_be(folder, tokenizer, fate):
    """Never a text of another row."""
    module = reviews(folder, tokenizer=tokenizer)
    rows = module.views["val"].rows[-3:].tolist()
    file = folder / "train.csv"
    if fate == "gone":
        file.unlink()
    elif fate == "changed":
        file.write_text(file.read_text().replace("Film", "Movie"))
    else:
        file.write_text("\n".join(file.read_text().splitlines()[:2]) + "\n")
    texts, whole = module.texts("val", rows)
    assert not whole
    for text, row in zip(texts, rows, strict=True):
        assert f"film {row}" in text.lower()
        assert f"word{row % 7}" in text.lower().replace(" ", "")
