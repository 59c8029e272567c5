"""Reviews read as words, as BPE tokens, or as another run read them; and the words exactly as they always were."""

import csv
import hashlib
import json
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from src.data.bpe import Bpe, train_bpe
from src.data.corpus import cached_split
from src.data.demo import read_demo, write_reviews
from src.data.encode import load_encoder
from src.data.module import Reviews
from src.data.source import read_corpus
from src.data.texts import Texts
from src.data.vocabulary import Vocabulary
from src.errors import UserError

PIECES = {"vocab_size": 400, "max_length": 24, "batch_size": 32, "label_names": ["neg", "pos"]}


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def reviews(cache_dir: str, **changes: Any) -> Reviews:
    source = {"path": None, "reader": partial(read_demo, num_reviews=300), "cache_dir": cache_dir}
    module = Reviews(**{**source, **PIECES, **changes})
    module.prepare_data()
    module.setup()
    return module


def digest(module: Reviews) -> str:
    found = hashlib.sha256()
    for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
        for batch in loader:
            for tensor in (*batch[:4], torch.tensor(batch.share)):
                found.update(tensor.numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"head": 10},
            "3f7cdae2aadd951bf0550018c6a72381455a295f9ebd5619ac16780b97a4a6f9",
        ),
        (
            {"split": "official", "overlap": "drop", "pad_to_max_length": True},
            "c980e4e3e5583eaaf0d9ebce0c463ad561389ad0b9589cec215804147fb09da5",
        ),
    ],
)
def test_words_give_the_bits_they_gave_before_there_was_a_choice(
    changes: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    """Recorded then, so that results of old runs stay comparable: every tensor of an epoch of all three splits."""
    settings = {"reader": partial(read_demo, num_reviews=400), "vocab_size": 300, "max_length": 40, "batch_size": 64}
    assert digest(reviews(str(tmp_path), **settings, **changes)) == expected


@pytest.mark.parametrize("head", [None, 1, 7])
@pytest.mark.parametrize("split", ["holdout", "official"])
def test_every_bpe_review_begins_with_the_end_and_is_cut_as_any_other(
    cache_dir: str, split: str, head: int | None
) -> None:
    module = reviews(cache_dir, tokenizer="bpe", head=head, split=split)
    texts = write_reviews(450, seed=0)
    first = 24 if head is None else head
    for name, loader in (("train", module.train_dataloader()), ("test", module.test_dataloader())):
        start = 300 if (name, split) == ("test", "official") else 0
        for batch in loader:
            for row, ids, length in zip(batch.rows.tolist(), batch.ids.tolist(), batch.lengths.tolist(), strict=True):
                whole = module.vocabulary.encode_document(texts[start + row]).tolist()
                kept = whole if len(whole) <= 24 else whole[:first] + whole[len(whole) - (24 - first) :]
                assert ids[:length] == kept[:24]
                assert ids[0] == Bpe.END
                assert not any(ids[length:])


def test_words_and_bpe_split_the_same_rows_as_texts(cache_dir: str) -> None:
    source = {"path": None, "reader": partial(read_demo, num_reviews=300), "cache_dir": cache_dir}
    texts = Texts(**source, **PIECES, split="official")
    texts.prepare_data()
    texts.setup()
    found = [reviews(cache_dir, tokenizer=name, split="official").fingerprint for name in ("words", "bpe")]
    rows = [made["split_sha256"] for made in (*found, texts.fingerprint)]
    assert rows[0] == rows[1] == rows[2]
    assert found[1]["vocabulary"] == texts.fingerprint["vocabulary"]  # one tokenizer, trained once
    assert found[0]["vocabulary"] != found[1]["vocabulary"]


@pytest.mark.parametrize("overlap", ["keep", "drop"])
def test_a_bpe_of_reviews_never_reads_a_text_of_val_or_test(
    overlap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"text number {n}, a film like many films" for n in range(80)]
    rows = {"train": texts[:60], "test": texts[50:70], "unsupervised": texts}
    for name, found in rows.items():
        with open(tmp_path / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *((text, n % 2) for n, text in enumerate(found))])
    read: list[str] = []

    def spy(found: Any, *, vocab_size: int) -> Bpe:
        read.extend(found)
        return train_bpe(read, vocab_size=vocab_size)

    monkeypatch.setattr("src.data.reading.train_bpe", spy)
    settings = {"path": str(tmp_path), "reader": read_corpus, "split": "official", "overlap": overlap}
    module = reviews(str(tmp_path / "cache"), tokenizer="bpe", **settings, vocab_size=270)
    measured = {texts[row] for row in module.views["val"].rows} | set(rows["test"])
    assert set(read) == set(texts) - measured
    assert len(measured) == 20 + 6 if overlap == "drop" else 20 < len(measured) <= 20 + 6


@pytest.mark.parametrize("tokenizer", ["words", "bpe"])
def test_a_run_folder_encodes_as_its_batches_were(cache_dir: str, tokenizer: str, tmp_path: Path) -> None:
    module = reviews(cache_dir, tokenizer=tokenizer, head=5)
    module.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [
        {"words": "vocabulary.json", "bpe": "tokenizer.json"}[tokenizer]
    ]
    config = {"tokenizer": tokenizer, "max_length": 24, "head": 5, "pad_to_max_length": False}
    moved = {**config, "tokenizer": f"/elsewhere/{next(tmp_path.iterdir()).name}"}  # it began from another run
    old = {key: value for key, value in config.items() if key != "tokenizer" or value != "words"}
    texts = write_reviews(300, seed=0)
    for found in (config, moved, old):
        encode = load_encoder(tmp_path, found)
        for batch in module.train_dataloader():
            ids, lengths = encode([texts[row] for row in batch.rows])
            assert ids.equal(batch.ids)
            assert lengths.equal(batch.lengths)


@pytest.mark.parametrize("tokenizer", ["words", "bpe"])
def test_the_tokenizer_of_another_run_is_taken_as_it_is(cache_dir: str, tokenizer: str, tmp_path: Path) -> None:
    first = reviews(cache_dir, tokenizer=tokenizer, split_seed=3)
    first.save(tmp_path)
    path = next(tmp_path.iterdir())
    second = reviews(cache_dir, tokenizer=str(path))
    assert second.vocabulary.sha256 == first.vocabulary.sha256
    assert second.fingerprint["vocabulary"] == first.fingerprint["vocabulary"]
    assert second.fingerprint["split_sha256"] == reviews(cache_dir).fingerprint["split_sha256"]
    assert digest(pickle.loads(pickle.dumps(second))) == digest(second)
    assert second.encode(["A film."])[0].tolist() == first.encode(["A film."])[0].tolist()


def test_an_empty_review_is_its_end_alone_and_any_text_encodes_the_same_in_company(cache_dir: str) -> None:
    module = reviews(cache_dir, tokenizer="bpe")
    texts = ["", "A film.", "\x00 <|endoftext|> \U0001f600", "\ud800", "x" * 500]
    ids, lengths = module.encode(texts)
    assert lengths[0] == 1
    for row, length, text in zip(ids, lengths, texts, strict=True):
        assert row[:length].tolist() == module.encode([text])[0][0].tolist()


def test_a_tokenizer_of_another_size_is_refused(cache_dir: str, tmp_path: Path) -> None:
    reviews(cache_dir, tokenizer="bpe").save(tmp_path)
    for size in (399, 401):
        with pytest.raises(UserError, match=rf"data\.vocab_size \({size}\) must be 400, the size of data\.tokenizer"):
            reviews(cache_dir, tokenizer=str(tmp_path / "tokenizer.json"), vocab_size=size)
    Vocabulary(["a", "b"]).save(tmp_path / "vocabulary.json")
    with pytest.raises(UserError, match=r"data\.vocab_size \(3\) must be 4"):
        reviews(cache_dir, tokenizer=str(tmp_path / "vocabulary.json"), vocab_size=3)
    # A small corpus does not fill its vocabulary; the network is as wide all the same.
    assert len(reviews(cache_dir, tokenizer=str(tmp_path / "vocabulary.json"), vocab_size=9).vocabulary) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer": "letters"}, r"data\.tokenizer \(letters\) must be words, bpe, or the path of a vocabulary"),
        ({"tokenizer": "nowhere/tokenizer.json"}, r"Tokenizer file \(nowhere/tokenizer\.json\)"),
        ({"tokenizer": "nowhere/vocabulary.json"}, r"Vocabulary file \(nowhere/vocabulary\.json\)"),
        ({"tokenizer": "bpe", "vocab_size": 256}, r"data\.vocab_size \(256\) must be at least 257 with .*bpe"),
        ({"tokenizer": "bpe", "head": 0}, r"data\.head \(0\) must be null or at least 1 with data\.tokenizer=bpe"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_data_is_read(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Reviews(path=None, reader=read_demo, cache_dir="nowhere", **{**PIECES, **changes})


def test_texts_without_labels_are_legal_in_their_own_split_only(tmp_path: Path) -> None:
    for name, label in (("train", -1), ("unsupervised", -1)):
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "".join(f"text {n},{label}\n" for n in range(9)))
    source = read_corpus(path=str(tmp_path))
    names: dict[str, Any] = {
        "columns": ["text", "label"],
        "label_names": ["neg", "pos"],
        "cache_dir": str(tmp_path / "c"),
    }
    assert cached_split(source, "unsupervised", **names).tokens.labels.tolist() == [-1] * 9
    with pytest.raises(UserError, match="9 of 9 rows have a label that is not legal"):
        cached_split(source, "train", **names)


def test_the_fingerprint_of_a_bpe_run_is_plain_json(cache_dir: str) -> None:
    module = reviews(cache_dir, tokenizer="bpe")
    assert json.loads(json.dumps(module.fingerprint)) == module.fingerprint
    assert module.fingerprint["tokenizer"] == "bpe-1"
    assert module.fingerprint["vocabulary"]["size"] == 400
