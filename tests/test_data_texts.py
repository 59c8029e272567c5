"""Text for a language model: what it may read, every target once, and an order that can be gone on with."""

import csv
import inspect
import json
import pickle
import random
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning import LightningModule, Trainer

from src.data import reading
from src.data.block import Block
from src.data.bpe import Bpe, tidy
from src.data.module import Reviews
from src.data.sampler import Draw
from src.data.source import read_corpus
from src.data.texts import Texts
from src.errors import UserError


def write(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label")) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def reviews_of(name: str, count: int) -> list[str]:
    """Each holds a word that no other text has."""
    draw = random.Random(name)
    words = ["a film", "is bad", "very good", "café", "isn't it?", "one<br /><br />two", "\U0001f600"]
    return [f"{name}word{n}x " + " ".join(draw.choice(words) for _ in range(draw.randrange(12))) for n in range(count)]


TRAIN, TEST, MORE = reviews_of("train", 120), reviews_of("test", 30), reviews_of("more", 60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """4 test texts also stand in train; every training and test text also stands in unsupervised, beside 60 others."""
    path = tmp_path / "corpus"
    path.mkdir()
    for name, texts in (("train", [*TRAIN, *TEST[:4]]), ("test", TEST)):
        write(path / f"{name}.csv", [(text, ("neg", "pos")[n % 2]) for n, text in enumerate(texts)])
    write(path / "unsupervised.csv", [(text,) for text in [*TRAIN, *MORE, *TEST]], header=("text",))
    return path


def common(folder: Path, **changes: Any) -> dict[str, Any]:
    place = {"path": str(folder), "reader": read_corpus, "cache_dir": str(folder.parent / "cache")}
    return {**place, "label_names": ["neg", "pos"], **changes}


def texts(folder: Path, **changes: Any) -> Texts:
    sizes = {"vocab_size": 300, "max_length": 16, "batch_size": 4, "eval_batch_size": 8, "include_unsupervised": True}
    module = Texts(**common(folder, **{**sizes, **changes}))
    module.prepare_data()
    module.setup()
    return module


def epoch(module: Texts, number: int = 0, start: int = 0) -> list[Block]:
    loader = module.train_dataloader()
    loader.sampler.set_epoch(number)
    loader.sampler.position = start
    return list(loader)


def held_out(folder: Path, split: str) -> tuple[set[str], set[str]]:
    """The texts on which a classifier of the same split trains, and those on which it is measured."""
    module = Reviews(**common(folder, split=split))
    module.prepare_data()
    module.setup()
    found = {"train": [*TRAIN, *TEST[:4]], "test": TEST if split == "official" else [*TRAIN, *TEST[:4]]}
    rows = {name: view.rows.tolist() for name, view in module.views.items()}
    measured = {found["train"][row] for row in rows["val"]} | {found["test"][row] for row in rows["test"]}
    return {found["train"][row] for row in rows["train"]}, measured


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("split", ["holdout", "official"])
def test_no_text_of_val_or_test_is_read_by_tokenizer_or_training(
    folder: Path, split: str, include: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def spy(found: Any, *, vocab_size: int) -> Bpe:
        read.extend(found)
        return train(read, vocab_size=vocab_size)

    train = reading.train_bpe
    monkeypatch.setattr(reading, "train_bpe", spy)
    module = texts(folder, split=split, include_unsupervised=include)
    trained, measured = held_out(folder, split)
    allowed = (trained | set(TRAIN) | set(MORE) | set(TEST) if include else trained) - measured
    assert len(measured) > 20
    assert set(read) == allowed
    packed = module.views["train"]
    rows = packed[Draw(np.arange(len(packed)), 1.0, epoch=0)].ids  # in the order of the stream
    assert sorted(rows.tolist()) == sorted(row for block in epoch(module) for row in block.ids.tolist())
    stream = rows.flatten().tolist()
    starts = [place for place, token in enumerate(stream) if token == 0]
    found = {module.tokenizer.decode(stream[start:end]) for start, end in pairwise(starts)}
    assert found <= {tidy(text) for text in allowed}
    assert len(allowed) - len(found) < 10  # the last block that is not full is left out, and what stands in it
    last = module.tokenizer.decode(stream[starts[-1] :]).rstrip("\ufffd")
    assert any(tidy(text).startswith(last) for text in allowed)


def test_what_is_left_out_is_counted_and_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = texts(folder, split="official")
    counts = module.fingerprint["left_out_as_held_out"]
    _, measured = held_out(folder, "official")
    assert counts["unsupervised"] == len(measured)
    assert counts["train"] + module.fingerprint["documents"]["train"] == module.fingerprint["sizes"]["train"]
    assert f"{len(measured)} of 210 unsupervised texts" in caplog.text


@pytest.mark.parametrize("split", ["holdout", "official"])
def test_every_target_of_val_and_test_is_counted_once(folder: Path, split: str) -> None:
    """One END and its tokens for each document, and the bytes of its text."""
    module = texts(folder, split=split)
    _, measured = held_out(folder, split)
    blocks = [block for loader in (module.val_dataloader(), module.test_dataloader()) for block in loader]
    documents = [module.tokenizer.encode_document(text) for text in measured]
    if split == "holdout":  # there, each text stands once
        assert len(documents) == module.fingerprint["sizes"]["val"] + module.fingerprint["sizes"]["test"]
    targets = torch.cat([block.targets[block.targets != -100] for block in blocks])
    assert sum(int(block.num_tokens) for block in blocks) == len(targets) == sum(map(len, documents))
    assert int((targets == 0).sum()) == len(documents)
    assert sum(int(block.num_bytes) for block in blocks) == sum(len(tidy(text).encode()) for text in measured)
    assert {float(block.share) for block in blocks} == {1.0}


def test_training_blocks_are_full_and_come_in_batches_of_the_asked_size(folder: Path) -> None:
    module = texts(folder)
    blocks = epoch(module)
    assert len(blocks) == len(module.train_dataloader())
    assert {block.ids.shape for block in blocks[:-1]} == {(4, 16)}
    assert sum(block.num_examples for block in blocks) == module.fingerprint["tokens"]["train"] // 16
    assert all((block.targets != -100).all() for block in blocks)


def test_the_order_is_that_of_seed_and_epoch_and_goes_on_from_any_position(folder: Path) -> None:
    def ids(blocks: list[Block]) -> list[Any]:
        return [block.ids.tolist() for block in blocks]

    one, again, other = texts(folder), texts(folder), texts(folder, seed=1)
    assert ids(epoch(one, 0)) != ids(epoch(one, 1))
    rows = [sorted(chain.from_iterable(ids(epoch(one, number)))) for number in (0, 1)]
    assert rows[0] != rows[1]  # packed anew, not only shuffled
    assert ids(epoch(one, 1)) == ids(epoch(again, 1))
    assert ids(epoch(one, 0)) != ids(epoch(other, 0))
    orders = [str(module.train_dataloader().sampler.batches(0)) for module in (one, other)]
    assert orders[0] != orders[1]  # of the blocks as well
    whole = ids(epoch(one, 2))
    for start in (1, 7, len(whole) - 1):
        assert ids(epoch(texts(folder), 2, start)) == whole[start:]


def test_iterating_leaves_the_global_random_numbers_alone(folder: Path) -> None:
    module = texts(folder)
    before = torch.get_rng_state()
    epoch(module), list(module.val_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


def test_worker_processes_and_pickled_modules_hand_out_the_same_blocks(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    alone = texts(folder, batch_size=32)
    for other in (texts(folder, batch_size=32, num_workers=1), pickle.loads(pickle.dumps(alone))):
        for one, two in zip(epoch(alone, 3), epoch(other, 3), strict=True):
            assert all(torch.equal(here, there) for here, there in zip(one[:4], two[:4], strict=True))
            assert one[4:] == two[4:]
    assert "huggingface/tokenizers" not in capfd.readouterr().err


def test_a_view_is_sent_to_another_process_without_its_tokens(folder: Path) -> None:
    view = texts(folder).views["train"]
    sizes = [len(pickle.dumps(part)) for part in (view, view.tokens)]
    assert sizes[1] < 1000
    assert sizes[0] < 3 * 8 * len(view.sizes) + 8 * len(view.token_bytes) + 2000


def test_the_second_time_nothing_is_trained_or_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = texts(folder)
    line = "Training a byte-level BPE of 300 tokens on"
    assert capsys.readouterr().err.count(line) == 1

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("the cache was not used")

    monkeypatch.setattr("src.data.source.read_file", forbidden)
    monkeypatch.setattr(reading, "train_bpe", forbidden)
    second = texts(folder, max_length=8, batch_size=2, seed=5)
    assert second.tokenizer.sha256 == first.tokenizer.sha256
    assert line not in capsys.readouterr().err
    for change in ({"vocab_size": 301}, {"split_seed": 1}, {"split": "official"}, {"include_unsupervised": False}):
        with pytest.raises(AssertionError, match="cache was not used"):
            texts(folder, **change)


def test_a_damaged_tokenizer_is_trained_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = texts(folder)
    path = next((folder.parent / "cache").glob("*/tokenizer.json"))
    path.write_text(path.read_text().replace("endoftext", "endoftexT"))
    assert texts(folder).tokenizer.sha256 == first.tokenizer.sha256
    assert "tokenizer.json has changed" in caplog.text


def test_the_fingerprint_is_plain_json_and_the_tokenizer_is_saved(folder: Path, tmp_path: Path) -> None:
    module = texts(folder)
    assert json.loads(json.dumps(module.fingerprint)) == module.fingerprint == texts(folder).fingerprint
    assert module.fingerprint["vocabulary"] == {"size": 300, "sha256": module.tokenizer.sha256}
    module.save(tmp_path)
    assert Bpe.load(tmp_path / "tokenizer.json").sha256 == module.tokenizer.sha256


def test_the_tokenizer_of_another_run_is_taken_as_it_is(folder: Path, tmp_path: Path) -> None:
    first = texts(folder, split_seed=1)
    first.save(tmp_path)
    path = str(tmp_path / "tokenizer.json")
    second = texts(folder, tokenizer=path)
    assert second.tokenizer.sha256 == first.tokenizer.sha256 != texts(folder).tokenizer.sha256
    assert second.fingerprint["split_sha256"] == texts(folder).fingerprint["split_sha256"]
    with pytest.raises(UserError, match=r"data\.vocab_size \(301\) must be 300"):
        texts(folder, tokenizer=path, vocab_size=301)


def test_a_corpus_without_unlabelled_texts_says_so(folder: Path) -> None:
    (folder / "unsupervised.csv").unlink()
    with pytest.raises(UserError, match=r"include_unsupervised \(true\) needs .* use data.include_unsupervised=false"):
        texts(folder)
    assert texts(folder, include_unsupervised=False).fingerprint["documents"].keys() == {"train"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 256}, r"data\.vocab_size \(256\) must be at least 257"),
        ({"vocab_size": 90_000}, r"data\.vocab_size \(90000\) must be 257 to \d+"),
        ({"max_length": 0}, r"data\.max_length \(0\)"),
        ({"max_length": 10**6}, r"data\.max_length \(1000000\) must be at most \d+, the tokens of all"),
        ({"batch_size": 0}, r"data\.batch_size \(0\)"),
        ({"split": "half"}, r"data\.split \(half\)"),
        ({"seed": -1}, r"data\.seed \(-1\)"),
        ({"label_names": ["a", "a"]}, r"data\.label_names"),
        ({"tokenizer": "words"}, r"data\.tokenizer \(words\) must be"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(changes: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(UserError, match=message):
        texts(folder, **changes)


def test_the_default_file_sets_every_argument_once() -> None:
    arguments = list(inspect.signature(Texts).parameters)
    assert sorted(yaml.safe_load(Path("conf/data/imdb_text.yaml").read_text())) == sorted(["_target_", *arguments])


class Recorder(LightningModule):
    """Keeps what a trainer hands it; one weight, so that there is something to train."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[int], float]] = []

    def training_step(self, batch: Block, index: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, batch.ids.tolist(), float(batch.share)))
        return self.weight * 1.0

    def validation_step(self, batch: Block, index: int) -> None:
        assert isinstance(batch, Block)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("settings", [{"accumulate_grad_batches": 3}, {"overfit_batches": 2}])
def test_a_trainer_gets_each_epochs_blocks_and_shares_that_add_up(
    folder: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    module, recorder = texts(folder), Recorder()
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(
        accelerator="cpu", max_epochs=2, default_root_dir=tmp_path, **dict.fromkeys(off, False), **settings
    )
    trainer.fit(recorder, datamodule=module)
    found = {number: [(ids, share) for at, ids, share in recorder.seen if at == number] for number in (0, 1)}
    if "overfit_batches" in settings:
        assert found[0] == found[1]
        assert len(found[0]) == 2
        return
    for number in (0, 1):
        assert [ids for ids, _ in found[number]] == [block.ids.tolist() for block in epoch(texts(folder), number)]
        for start in range(0, len(found[number]), 3):
            assert sum(share for _, share in found[number][start : start + 3]) == pytest.approx(1)
