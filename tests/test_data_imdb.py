"""Facts about the real corpus, where a copy of it lies beside the repository."""

from pathlib import Path

import numpy as np
import pytest

from src.data.module import Reviews
from src.data.source import read_corpus

CORPUS = Path(__file__).resolve().parents[1] / "../shared/data/imdb"


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not CORPUS.is_dir():
        pytest.skip(f"the IMDb corpus is not at {CORPUS}")
    return str(tmp_path_factory.mktemp("cache"))


def reviews(cache_dir: str, **changes: object) -> Reviews:
    settings: dict = {"reader": read_corpus, "label_names": ["neg", "pos"], **changes}
    module = Reviews(path=str(CORPUS), cache_dir=cache_dir, **settings)
    module.prepare_data()
    module.setup()
    return module


def label_counts(module: Reviews) -> dict[str, list[int]]:
    return {name: np.bincount(view.tokens.labels[view.rows]).tolist() for name, view in module.views.items()}


def test_holdout_is_20000_2500_2500_balanced_and_without_a_shared_text(cache_dir: str) -> None:
    module = reviews(cache_dir)
    assert label_counts(module) == {"train": [10_000] * 2, "val": [1250] * 2, "test": [1250] * 2}
    assert module.fingerprint["rows"] == {"train": 25_000}
    texts = [set(view.tokens.hashes[view.rows].tolist()) for view in module.views.values()]
    assert sum(map(len, texts)) == len(set.union(*texts)) == 24_904
    assert len(module.vocabulary) == 5000
    assert len(module.train_dataloader()) == 313


def test_official_is_22500_2500_and_the_25000_test_rows(cache_dir: str) -> None:
    module = reviews(cache_dir, split="official")
    assert label_counts(module) == {"train": [11_250] * 2, "val": [1250] * 2, "test": [12_500] * 2}
    assert module.fingerprint["overlap"] == {"test_rows_in_train": 123, "rule": "keep"}
    assert module.fingerprint["without_words"] == module.fingerprint["shortened"] == 0


def test_buckets_cut_the_steps_of_an_epoch_by_a_fifth(cache_dir: str) -> None:
    """Time per epoch of an LSTM is proportional to this number of steps."""
    steps = {}
    for bucket_batches in (0, 50):
        module = reviews(cache_dir, bucket_batches=bucket_batches)
        lengths = module.views["train"].lengths
        steps[bucket_batches] = sum(int(lengths[batch].max()) for batch in module.train_dataloader().sampler.batches(0))
    assert steps[0] == 313 * 200
    assert steps[50] < 0.82 * steps[0]
