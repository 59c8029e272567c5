"""Passages for the recurrent language model: what may be read, how it is cut, and what a batch holds."""

import csv
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from src.data.module import Reviews
from src.data.passages import TargetOrder, cut
from src.data.source import read_corpus
from src.data.vocabulary import Vocabulary
from src.data.word_blocks import WordBlocks
from src.errors import UserError


def write(path: Path, rows: list[tuple[str, object]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def text(number: int) -> str:
    draw = random.Random(number)
    return f"own{number} " + " ".join(f"w{draw.randrange(40)}" for _ in range(draw.randrange(1, 30)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """100 labelled rows, 20 test rows, 60 unlabelled: 4 of them stand in train, 3 in test, one has no word."""
    path = tmp_path / "corpus"
    path.mkdir()
    write(path / "train.csv", [(text(n), n % 2) for n in range(100)])
    write(path / "test.csv", [(text(n), n % 2) for n in range(100, 120)])
    unlabelled = [text(n) for n in (*range(4), *range(100, 103), *range(200, 252))] + ["..."]
    write(path / "unsupervised.csv", [(found, -1) for found in unlabelled])
    return path


def made(kind, folder: Path, **changes):
    common = {"path": str(folder), "reader": read_corpus, "label_names": ["neg", "pos"]}
    sizes = {"vocab_size": 500, "max_length": 12, "batch_size": 8, "eval_batch_size": 8, "bucket_batches": 2}
    module = kind(**{**common, **sizes, "cache_dir": str(folder.parent / "cache"), **changes})
    module.prepare_data()
    module.setup()
    return module


def words_of(module: WordBlocks, name: str) -> set[str]:
    return {module.vocabulary.words[id_ - 2] for id_ in module.views[name].ids.tolist() if id_ >= 2}


@pytest.mark.parametrize("split", ["holdout", "official"])
def test_no_text_of_val_or_test_is_read_or_counted(folder: Path, split: str) -> None:
    """Each text holds one word of its own; the classifier's module says whose text is held out."""
    module = made(WordBlocks, folder, split=split)
    reviews = made(Reviews, folder, split=split)
    held = [reviews.views[name] for name in ("val", "test")]
    own = {f"own{n + 100 * (view.tokens is not held[0].tokens)}" for view in held for n in view.rows.tolist()}
    assert len(own) == (20 if split == "holdout" else 30)
    assert not own & set(module.vocabulary.words)
    everything = {f"own{n}" for n in (*range(100), *range(200, 252))} | ({"own100", "own101", "own102"} - own)
    assert {word for word in words_of(module, "train") if word.startswith("own")} == everything - own
    assert module.fingerprint["sizes"] == reviews.fingerprint["sizes"]
    assert module.fingerprint["split_sha256"] == reviews.fingerprint["split_sha256"]


def test_without_the_unlabelled_texts_only_labelled_ones_are_read(folder: Path) -> None:
    module = made(WordBlocks, folder, include_unsupervised=False)
    assert module.fingerprint["documents"] == {"train": 80}
    assert not any(f"own{n}" in module.vocabulary.words for n in range(200, 252))


def test_a_corpus_without_unlabelled_texts_is_refused_unless_asked_for_none(folder: Path) -> None:
    (folder / "unsupervised.csv").unlink()
    with pytest.raises(UserError, match="include_unsupervised=false"):
        made(WordBlocks, folder)
    made(WordBlocks, folder, include_unsupervised=False)


def test_passages_cover_every_review_in_equal_parts() -> None:
    lengths = np.array([25, 0, 10, 1, 11, 2])
    starts, sizes = cut(lengths, 10)
    pieces = [(start, start + size) for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)]
    assert pieces == [(0, 8), (8, 16), (16, 25), (25, 35), (36, 41), (41, 47), (47, 49)]


def test_batches_hold_every_word_of_every_passage_once(folder: Path) -> None:
    module = made(WordBlocks, folder)
    for name in ("train", "val", "test"):
        view = module.views[name]
        loader = module.train_dataloader() if name == "train" else module._eval_loader(name)
        found = []
        for block in loader:
            assert block.ids.dtype == block.lengths.dtype == torch.int64
            assert block.ids.shape[1] == int(block.lengths.max()) <= 12
            padding = torch.arange(block.ids.shape[1]) >= block.lengths[:, None]
            assert bool((block.ids.eq(0) == padding).all())
            assert (block.num_examples, int(block.num_tokens)) == (len(block.lengths), int(block.lengths.sum()))
            found += [tuple(row[:length].tolist()) for row, length in zip(block.ids, block.lengths, strict=True)]
        spans = zip(view.starts, view.lengths, strict=True)
        assert sorted(found) == sorted(tuple(view.ids[start : start + length].tolist()) for start, length in spans)


def test_the_order_is_a_function_of_seed_and_epoch(folder: Path) -> None:
    def first(seed: int, epoch: int) -> list[list[int]]:
        loader = made(WordBlocks, folder, seed=seed).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return [block.ids.flatten().tolist() for block in loader]

    assert first(1, 0) == first(1, 0)
    assert first(1, 0) != first(1, 1)
    assert first(1, 0) != first(2, 0)


def test_an_iteration_can_start_in_the_middle(folder: Path) -> None:
    loader = made(WordBlocks, folder).train_dataloader()
    whole = [block.ids.tolist() for block in loader]
    loader.sampler.position = 3
    assert [block.ids.tolist() for block in loader] == whole[3:]


def test_shares_count_targets_and_add_up_to_one_in_every_window() -> None:
    lengths = np.arange(2, 25)
    order = TargetOrder(lengths, batch_size=4, bucket_batches=2, seed=0, accumulate=2)
    draws = list(order)
    assert len(draws) == 6
    for first in (0, 2, 4):
        window = draws[first : first + 2]
        assert sum(draw.share for draw in window) == pytest.approx(1)
        targets = [(lengths[draw.indices] - 1).sum() for draw in window]
        assert window[0].share / window[1].share == pytest.approx(targets[0] / targets[1])


def test_the_vocabulary_is_saved_for_the_classifier(folder: Path, tmp_path: Path) -> None:
    module = made(WordBlocks, folder, vocab_size=30)
    module.save(tmp_path)
    assert Vocabulary.load(tmp_path / "vocabulary.json").words == module.vocabulary.words
    assert len(module.vocabulary) == 30


def test_words_are_numbered_by_falling_frequency_over_all_splits(folder: Path) -> None:
    module = made(WordBlocks, folder)
    counts = np.bincount(module.views["train"].ids)[2:]
    # Single words that make no passage may miss in the last place.
    assert (np.diff(counts.astype(int)) <= 1).all()
    assert counts[0] == counts.max()


def test_a_passage_of_one_word_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"data.max_length \(1\)"):
        made(WordBlocks, folder, max_length=1)
