"""NB-SVM: its counts against plain Python sets, its formula against a loop, its accuracy on the demo corpus."""

import math
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from src.benchmark.baseline import compare, log_count_ratio, weigh
from src.benchmark.ngrams import CHUNK, NGrams
from src.data.demo import read_demo
from src.data.module import Reviews
from src.data.source import read_corpus
from src.data.table import Source, Table
from src.data.words import split_words
from src.errors import UserError

sparse = pytest.importorskip("scipy.sparse")
pytest.importorskip("sklearn")

IMDB = Path(__file__).parents[2] / "shared" / "data" / "imdb"
TIMES = ("seconds", "cpu_seconds")


def module(cache_dir, *, num_reviews=1000, **changes):
    settings = {"label_names": ["neg", "pos"], "reader": partial(read_demo, num_reviews=num_reviews), **changes}
    return Reviews(path=None, cache_dir=str(cache_dir), **settings)


def sets_of_reviews(texts, *, longest, known, min_reviews=1):
    """The slow truth: for every n-gram of at least `min_reviews` of the `known` texts, the texts that contain it."""

    def ngrams(text):
        words = split_words(text)
        return {tuple(words[i : i + n]) for n in range(1, longest + 1) for i in range(len(words) - n + 1)}

    count = Counter(ngram for text in known for ngram in ngrams(text))
    found = {ngram: [] for ngram, reviews in count.items() if reviews >= min_reviews}
    for number, text in enumerate(texts):
        for ngram in ngrams(text) & found.keys():
            found[ngram].append(number)
    return Counter(map(tuple, found.values()))


def sets_of_columns(marks):
    """For every column of a matrix, the rows with a 1 in it."""
    assert set(marks.data.tolist()) == {1.0}
    columns = marks.tocsc()
    return Counter(tuple(np.sort(columns[:, column].indices).tolist()) for column in range(columns.shape[1]))


@pytest.mark.parametrize("longest", [1, 2, 3])
@pytest.mark.parametrize("split", ["holdout", "official"])
def test_the_marks_are_those_of_python_sets(tmp_path, longest, split):
    """Also for the official test split, whose words the cache numbers in another order."""
    data = module(tmp_path, num_reviews=100, split=split)
    data.setup()
    source = data.reader(path=None, text_column="text", label_column="label")
    tables = {"train": "train", "val": "train", "test": "test" if split == "official" else "train"}
    texts = {name: [source.read(tables[name]).texts[row] for row in view.rows] for name, view in data.views.items()}
    ngrams = NGrams(data.views["train"], longest=longest)
    for name, view in data.views.items():
        truth = sets_of_reviews(texts[name], longest=longest, known=texts["train"], min_reviews=2)
        assert sets_of_columns(ngrams.mark(view)) == truth


def test_reviews_without_words_and_beyond_one_chunk_keep_their_rows(tmp_path):
    # Full stops are no words: they only keep the texts different, as the split wants them.
    words = [f"word{number % 7} common" if number % 100 else "" for number in range(2 * CHUNK + 5)]
    texts = [f"{text} {'.' * number}" for number, text in enumerate(words)]
    table = Table(texts, [number % 2 for number in range(len(texts))], "made up")
    source = Source("made up", "0" * 64, ("train", "test"), lambda name: table)
    data = module(tmp_path, reader=lambda **_: source, split="official")
    data.setup()
    ngrams = NGrams(data.views["train"], longest=2)
    marks = ngrams.mark(data.views["test"])
    assert marks.shape == (len(texts), 15)  # 7 words, "common", and 7 pairs
    assert marks.sum(axis=1).ravel().tolist()[0] == [3.0 if number % 100 else 0.0 for number in range(len(texts))]


def test_the_log_count_ratio_is_the_formula_of_the_paper():
    marks, labels = np.random.default_rng(0).integers(0, 2, (30, 5)), np.arange(30) % 2
    p = [1 + sum(marks[i, f] for i in range(30) if labels[i] == 1) for f in range(5)]
    q = [1 + sum(marks[i, f] for i in range(30) if labels[i] == 0) for f in range(5)]
    truth = [math.log((p[f] / sum(p)) / (q[f] / sum(q))) for f in range(5)]
    found = log_count_ratio(sparse.csr_matrix(marks.astype(np.float32)), labels)
    np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-6)


def test_weighed_reviews_have_length_one_or_no_words():
    weighed = weigh(sparse.csr_matrix(np.array([[1, 1], [0, 1], [0, 0]], dtype=np.float32)), np.array([3.0, -4.0]))
    np.testing.assert_allclose(weighed.toarray(), [[0.6, -0.8], [0, -1], [0, 0]], atol=1e-6)


def test_longer_groups_of_words_read_the_demo_corpus_better_than_single_words(tmp_path):
    """Single words stay below 80 %, as the demo corpus promises."""
    one, three = compare(data=module(tmp_path, num_reviews=5000), longest=[1, 3], strengths=[0.1, 1])
    assert 0.5 < one["val/acc"] <= 0.80
    assert 0.5 < one["test/acc"] <= 0.80
    assert three["val/acc"] > one["val/acc"] + 0.1
    assert three["test/acc"] > one["test/acc"] + 0.1
    assert three["features"] > 10 * one["features"]


def test_the_same_data_gives_the_same_rows(tmp_path):
    rows = [compare(data=module(tmp_path), longest=[2], strengths=[1, 0.1]) for _ in range(2)]
    assert len({str({key: value for key, value in row.items() if key not in TIMES}) for [row] in rows}) == 1
    assert all(row[name] > 0 for [row] in rows for name in TIMES)


def test_the_test_reviews_choose_nothing(tmp_path):
    """With all test labels turned round, only the test accuracy changes, and it changes to its opposite."""
    straight, turned = module(tmp_path), module(tmp_path)
    turned.setup()
    view = turned.views["test"]
    labels = np.array(view.tokens.labels)
    labels[view.rows] = 1 - labels[view.rows]
    object.__setattr__(view.tokens, "labels", labels)
    [before], [after] = (compare(data=data, longest=[2], strengths=[0.1, 1]) for data in (straight, turned))
    same = set(before) - {*TIMES, "test/acc"}
    assert {key: before[key] for key in same} == {key: after[key] for key in same}
    assert before["test/acc"] == pytest.approx(1 - after["test/acc"])


def test_without_scikit_learn_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(UserError, match=r"needs scikit-learn: pip install -e '\.\[baseline\]'"):
        compare(data=module(tmp_path), longest=[1], strengths=[1])


@pytest.mark.parametrize(
    ("labels", "longest", "strengths", "words"),
    [
        (["a", "b", "c"], [1], [1], r"data.label_names \(\['a', 'b', 'c'\]\) must be two labels"),
        (["a", "b"], [0], [1], r"suite.longest \(\[0\]\) must be a list of numbers, each at least 1"),
        (["a", "b"], [1], [], r"suite.strengths \(\[\]\) must be a list of numbers"),
        (["a", "b"], [1], [0], r"suite.strengths \(\[0\]\) must be a list of numbers"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_data_is_read(tmp_path, labels, longest, strengths, words):
    data = module(tmp_path / "cache", label_names=labels)
    with pytest.raises(UserError, match=words):
        compare(data=data, longest=longest, strengths=strengths)
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_pairs_of_words_reach_91_percent_of_the_official_imdb_test(tmp_path):
    if not IMDB.is_dir():
        pytest.skip(f"the IMDb corpus is not at {IMDB}")
    settings = {"label_names": ["neg", "pos"], "reader": read_corpus, "split": "official"}
    data = Reviews(path=str(IMDB), cache_dir=str(tmp_path), **settings)
    [row] = compare(data=data, longest=[2], strengths=[0.3, 1])
    assert row["test/acc"] > 0.91
