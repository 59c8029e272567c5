"""Reviews as a whole: from files to batches, inside and outside a trainer."""

import csv
import inspect
import json
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning import LightningModule, Trainer

from src.data.module import Reviews
from src.data.source import read_corpus
from src.data.words import split_words
from src.errors import UserError

Rows = list[tuple[str, str]]


def corpus(count: int = 200, seed: int = 0) -> Rows:
    """Rows sorted by label, each text different, some without a single word."""
    draw = random.Random(seed)
    rows = [
        (f"film{seed}x{n} " + " ".join(f"w{draw.randrange(60)}" for _ in range(draw.randrange(30))), n)
        for n in range(count)
    ]
    return [
        ("." * (n + 1) + "-" * seed if n % 50 == 7 else text, "neg" if n < count // 2 else "pos") for text, n in rows
    ]


def write(path: Path, rows: Rows) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def reviews(path: Path, **changes: Any) -> Reviews:
    common = {"reader": read_corpus, "label_names": ["neg", "pos"], "cache_dir": str(path.parent / "cache")}
    settings = {"vocab_size": 50, "max_length": 12, "batch_size": 16, "eval_batch_size": 32, "bucket_batches": 3}
    module = Reviews(path=str(path), **{**common, **settings, **changes})
    module.prepare_data()
    module.setup()
    return module


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "reviews.csv", corpus())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A training and a test split that share 5 texts, one of them twice in train."""
    path = tmp_path / "both"
    path.mkdir()
    shared = [(f"shared text {n}", "pos") for n in range(5)]
    write(path / "train.csv", [*corpus(), *shared, shared[0]])
    write(path / "test.csv", [*corpus(60, seed=1), *shared])
    return path


def loaders(module: Reviews) -> dict[str, Any]:
    return {"train": module.train_dataloader(), "val": module.val_dataloader(), "test": module.test_dataloader()}


def test_batches_hold_every_row_of_their_side_once_with_its_label(file: Path) -> None:
    module = reviews(file)
    labels = [label for _, label in corpus()]
    seen: list[int] = []
    for name, loader in loaders(module).items():
        rows = torch.cat([batch.rows for batch in loader])
        assert len(rows) == {"train": 160, "val": 20, "test": 20}[name]
        assert [["neg", "pos"][label] for label in torch.cat([batch.labels for batch in loader])[rows.argsort()]] == [
            labels[row] for row in sorted(rows.tolist())
        ]
        seen += rows.tolist()
    assert sorted(seen) == list(range(200))


@pytest.mark.parametrize("head", [None, 0, 4])
@pytest.mark.parametrize("pad_to_max_length", [False, True])
def test_prediction_encodes_a_text_as_training_does(file: Path, head: int | None, pad_to_max_length: bool) -> None:
    module = reviews(file, head=head, pad_to_max_length=pad_to_max_length)
    texts = [text for text, _ in corpus()]
    for loader in loaders(module).values():
        for batch in loader:
            ids, lengths = module.encode([texts[row] for row in batch.rows])
            assert torch.equal(ids, batch.ids)
            assert torch.equal(lengths, batch.lengths)
            assert ids.shape[1] == (12 if pad_to_max_length else lengths.max())


def test_batches_have_the_promised_types(file: Path) -> None:
    batch = next(iter(reviews(file).train_dataloader()))
    assert {tensor.dtype for tensor in batch[:4]} == {torch.int64}
    assert type(batch.share) is float  # which no precision rounds
    assert int(batch.lengths.min()) >= 1


def test_words_of_held_out_reviews_alone_are_unknown(file: Path) -> None:
    module = reviews(file, vocab_size=10_000)
    texts = [split_words(text) for text, _ in corpus()]
    rows = {name: view.rows for name, view in module.views.items()}
    trained = {word for row in rows["train"] for word in texts[row]}
    held_out = {word for name in ("val", "test") for row in rows[name] for word in texts[row]}
    assert set(module.vocabulary.words) == trained
    assert len(held_out - trained) > 20
    ids, _ = module.encode([" ".join(sorted(held_out - trained)[:12])])
    assert set(ids.flatten().tolist()) == {1}


def test_a_review_without_words_is_one_unknown_word_and_counted(file: Path) -> None:
    module = reviews(file)
    empty = {row for row, (text, _) in enumerate(corpus()) if not split_words(text)}
    assert module.fingerprint["without_words"] == len(empty) == 4
    found = 0
    for loader in loaders(module).values():
        for batch in loader:
            for row, ids, length in zip(batch.rows.tolist(), batch.ids, batch.lengths, strict=True):
                if row in empty:
                    found += 1
                    assert ids[:length].tolist() == [1]
    assert found == 4


def test_the_order_changes_with_the_epoch_and_comes_back_with_it(file: Path) -> None:
    def epoch(module: Reviews, number: int) -> list[list[int]]:
        loader = module.train_dataloader()
        loader.sampler.set_epoch(number)
        return [batch.rows.tolist() for batch in loader]

    one, again, other = reviews(file), reviews(file), reviews(file, seed=1)
    assert epoch(one, 0) != epoch(one, 1)
    assert epoch(one, 1) == epoch(again, 1)
    assert epoch(one, 0) != epoch(other, 0)
    loader = again.train_dataloader()
    loader.sampler.set_epoch(1)
    loader.sampler.position = 4
    assert [batch.rows.tolist() for batch in loader] == epoch(one, 1)[4:]


def test_iterating_leaves_the_global_random_numbers_alone(file: Path) -> None:
    """A stock loader draws from torch's generator at every start, so validation would change the dropout after it."""
    module = reviews(file)
    before = torch.get_rng_state()
    for loader in loaders(module).values():
        list(loader)
    assert torch.equal(torch.get_rng_state(), before)


def test_worker_processes_hand_out_the_same_batches(file: Path) -> None:
    alone, helped = reviews(file), reviews(file, num_workers=1)
    for one, other in zip(alone.train_dataloader(), helped.train_dataloader(), strict=True):
        assert all(torch.equal(here, there) for here, there in zip(one[:4], other[:4], strict=True))
        assert one[4:] == other[4:]


def test_a_pickled_module_hands_out_the_same_batches(file: Path) -> None:
    module = reviews(file)
    copy = pickle.loads(pickle.dumps(module))
    for one, other in zip(module.train_dataloader(), copy.train_dataloader(), strict=True):
        assert torch.equal(one.ids, other.ids)


def test_the_fingerprint_is_plain_json_and_follows_the_data_and_the_split(file: Path) -> None:
    first = reviews(file).fingerprint
    assert json.loads(json.dumps(first)) == first
    assert first["rows"] == {"train": 200}
    assert first["sizes"] == {"train": 160, "val": 20, "test": 20}
    assert reviews(file).fingerprint == first
    assert reviews(file, split_seed=1).fingerprint["split_sha256"] != first["split_sha256"]
    write(file, corpus(seed=5))
    assert reviews(file).fingerprint["content"] != first["content"]


@pytest.mark.parametrize(
    ("overlap", "trained", "line"), [("keep", 206, "they are kept"), ("drop", 200, "6 training rows")]
)
def test_texts_in_both_splits_are_counted_and_kept_or_dropped(
    overlap: str, trained: int, line: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = reviews(folder, split="official", overlap=overlap)
    sizes = module.fingerprint["sizes"]
    assert sizes["train"] + sizes["val"] == trained
    assert sizes["test"] == 65
    assert module.fingerprint["overlap"] == {"test_rows_in_train": 5, "rule": overlap}
    assert [line in message for message in caplog.messages] == [True]


def test_overlap_can_be_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="5 test reviews also occur in train"):
        reviews(folder, split="official", overlap="error")


def test_holdout_does_not_read_the_test_split(folder: Path) -> None:
    (folder / "test.csv").write_text("not even csv with the right columns")
    assert reviews(folder).fingerprint["rows"] == {"train": 206}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no rows"),
        ([("a", "neg"), ("b", "neg")], "has only the label neg"),
        ([("a", "neg"), ("b", "pos")], "has 1 distinct reviews"),
        ([("a", "neg"), ("b", "maybe"), ("c", "-1")], "2 of 3 rows have a label that is not legal, first .*line 3"),
    ],
)
def test_data_that_cannot_train_is_refused_before_training(rows: Rows, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        reviews(write(tmp_path / "reviews.csv", rows))


def test_official_needs_a_test_split_with_both_labels(file: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=r"needs a test split, but .* has train; use data\.split=holdout"):
        reviews(file, split="official")
    write(folder / "test.csv", [("a", "pos"), ("b", "pos")])
    with pytest.raises(UserError, match=r"test split of .* has only the label pos"):
        reviews(folder, split="official")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 2}, r"data\.vocab_size \(2\) must be at least 3"),
        ({"max_length": 0}, r"data\.max_length \(0\)"),
        ({"batch_size": 0}, r"data\.batch_size \(0\)"),
        ({"eval_batch_size": -1}, r"data\.eval_batch_size \(-1\)"),
        ({"bucket_batches": -1}, r"data\.bucket_batches \(-1\)"),
        ({"seed": -1}, r"data\.seed \(-1\)"),
        ({"head": 13}, r"data\.head \(13\) must be null or 0 to data\.max_length \(12\)"),
        ({"head": -1}, r"data\.head \(-1\)"),
        ({"split": "half"}, r"data\.split \(half\) must be one of holdout, official"),
        ({"overlap": "drop"}, r"data\.overlap \(drop\) has no effect"),
        ({"label_names": ["a"]}, r"data\.label_names"),
        ({"label_names": ["a", "a"]}, r"data\.label_names"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(changes: dict[str, Any], message: str, file: Path) -> None:
    with pytest.raises(UserError, match=message):
        reviews(file, **changes)


def test_three_labels_work_as_well(tmp_path: Path) -> None:
    rows = [(f"text number {n}", str(n % 3)) for n in range(60)]
    module = reviews(write(tmp_path / "reviews.csv", rows), label_names=["bad", "fair", "good"])
    for name, size in {"train": 16, "val": 2, "test": 2}.items():
        view = module.views[name]
        assert np.bincount(view.tokens.labels[view.rows]).tolist() == [size] * 3


HUGE = r"""
import json, re, sys
from pathlib import Path
from src.data.corpus import cached_split
from src.data.source import read_corpus
folder, suffix = Path(sys.argv[1]), sys.argv[2]
texts = ["word " * 10_000_000, *(f"short {n}" for n in range(20))]
labels = [n % 2 for n in range(21)]
path = folder / f"reviews{suffix}"
if suffix == ".csv":
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in zip(texts, labels)))
elif suffix == ".jsonl":
    path.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in zip(texts, labels)))
else:
    import pyarrow, pyarrow.parquet
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "label": labels}), path)
del texts
source = read_corpus(path=str(path))
names = ["neg", "pos"]
side = cached_split(source, "train", columns=["text", "label"], label_names=names, cache_dir=str(folder / "cache"))
# Not ru_maxrss, which starts at the peak of the process that started this one.
peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
print(json.dumps({"mebibytes": peak, "words": int(side.tokens.lengths[0]), **side.tokens.notes}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_review_of_50_megabytes_takes_bounded_memory(suffix: str, tmp_path: Path) -> None:
    """Ten million words as Python objects would take about a gigabyte; two pieces of 100,000 characters are kept."""
    done = subprocess.run([sys.executable, "-c", HUGE, tmp_path, suffix], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["words"] == 40_000
    assert found["shortened"] == 1
    assert 50 < found["mebibytes"] < 700


def test_the_default_file_sets_every_argument_once() -> None:
    """A new argument needs its line and consequence in conf/data, and an old line must not outlive its argument."""
    arguments = list(inspect.signature(Reviews).parameters)
    assert sorted(yaml.safe_load(Path("conf/data/imdb.yaml").read_text())) == sorted(["_target_", *arguments])


class Recorder(LightningModule):
    """Keeps what a trainer hands it; one weight, so that there is something to train."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[int], float]] = []

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, batch.rows.tolist(), float(batch.share)))
        return self.weight * 1.0

    def validation_step(self, batch: Any, index: int) -> None:
        assert float(batch.share) == 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def record(module: Reviews, tmp_path: Path, **settings: Any) -> list[tuple[int, list[int], float]]:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    recorder = Recorder()
    Trainer(accelerator="cpu", max_epochs=2, default_root_dir=tmp_path, **quiet, **settings).fit(
        recorder, datamodule=module
    )
    return recorder.seen


workers_warning = pytest.mark.filterwarnings("ignore:.*does not have many workers")  # 0.3 ms per batch need none


@workers_warning
@pytest.mark.parametrize("limit", [1.0, 0.55, 7])
def test_a_trainer_gets_the_order_of_each_epoch_and_shares_that_add_up(
    file: Path, limit: float, tmp_path: Path
) -> None:
    module = reviews(file)
    seen = record(module, tmp_path, accumulate_grad_batches=3, limit_train_batches=limit)
    for epoch in (0, 1):
        found = [(rows, share) for number, rows, share in seen if number == epoch]
        assert len(found) == {1.0: 10, 0.55: 5, 7: 7}[limit]
        expected = module.train_dataloader().sampler.batches(epoch)
        assert [rows for rows, _ in found] == [
            module.views["train"].rows[batch].tolist() for batch in expected[: len(found)]
        ]
        for start in range(0, len(found), 3):
            assert sum(share for _, share in found[start : start + 3]) == pytest.approx(1)


@workers_warning
def test_overfitting_repeats_the_same_few_batches(file: Path, tmp_path: Path) -> None:
    """Lightning would replace any sampler that is not sequential by one that hands out single rows."""
    seen = record(reviews(file), tmp_path, overfit_batches=2)
    assert [rows for _, rows, _ in seen[:2]] == [rows for _, rows, _ in seen[2:]]
    assert [len(rows) for _, rows, _ in seen] == [16] * 4
