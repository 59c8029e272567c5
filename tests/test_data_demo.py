"""The demo corpus: reproducible, balanced, plain English, and out of reach for a model that sees single words."""

import os
import re
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from src.data import demo_phrases as phrases
from src.data.demo import read_demo, write_reviews
from src.data.module import Reviews
from src.data.words import split_words
from src.errors import UserError
from src.model.bilstm import BiLSTM

read = partial(read_demo, path=None, text_column="text", label_column="label")


@pytest.fixture(scope="module")
def train():
    return read().read("train")


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """The data module that `data=demo` builds, with batches of 32."""
    cache_dir = str(tmp_path_factory.mktemp("cache"))
    module = Reviews(path=None, reader=read_demo, label_names=["neg", "pos"], batch_size=32, cache_dir=cache_dir)
    module.setup()
    return module


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    """Python shuffles its sets differently in every process; nothing of it may reach the corpus."""
    settings = {"path": None, "text_column": "text", "label_column": "label", "num_reviews": 300, "seed": 5}
    code = f"from src.data.demo import read_demo; print(read_demo(**{settings}).fingerprint)"
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == read_demo(**settings).fingerprint


def test_the_fingerprint_is_another_for_another_seed_or_size():
    prints = [read(num_reviews=size, seed=seed).fingerprint for size in (100, 101) for seed in (0, 1)]
    assert len(set(prints)) == 4


def test_a_longer_corpus_begins_with_the_shorter_one():
    assert write_reviews(200, seed=3)[:50] == write_reviews(50, seed=3)


def test_train_and_test_share_no_text_and_are_balanced(train):
    test = read().read("test")
    assert (len(train.texts), len(test.texts)) == (5000, 2500)
    assert len({*train.texts, *test.texts}) == 7500
    assert sum(train.labels) == 2500
    assert sum(test.labels) == 1250


def test_reviews_have_20_to_60_words(train):
    lengths = [len(split_words(text)) for text in train.texts]
    assert min(lengths) >= 20
    assert max(lengths) <= 60


def test_every_blank_is_filled_and_every_article_fits(train):
    wrong = re.compile(r"[{}]|  |\b[Aa] (?=[aeiou])|\b[Aa] honest|\b[Aa]n (?![aeiou]|honest)")
    assert [text for text in train.texts if wrong.search(text)] == []


def test_no_single_word_tells_the_label(train):
    """Among the words of 100 reviews and more, none is on one side more often than four times in five."""
    count, positive = Counter(), Counter()
    for text, label in zip(train.texts, train.labels, strict=True):
        for word in set(split_words(text)):
            count[word] += 1
            positive[word] += label
    share = {word: positive[word] / count[word] for word in count if count[word] >= 100}
    assert len(share) > 100
    assert {word: part for word, part in share.items() if not 0.2 < part < 0.8} == {}


def test_every_opinion_is_named_plainly_and_by_the_denial_of_its_opposite():
    """A kind of word that stood in plain sentences only would give the label away."""
    plain, negated = " ".join(phrases.PLAIN_VERDICTS), " ".join(phrases.NEGATED_VERDICTS)
    mixed = " ".join(phrases.MIXED_VERDICTS)
    for kind, mirror in phrases.OPINIONS:
        assert f"{{{kind}}}" in plain + mixed
        assert f"{{{mirror}}}" in negated
        assert mixed.count(f"{{{kind}}}") >= 1


def test_negation_turns_with_the_label():
    texts = write_reviews(4000, seed=0)
    good, bad = (set(column.split(", ")) for column in phrases.OPINIONS["wonderful", "awful"])
    denied = re.compile(r"All in all it is not an? (\w+) film")
    for column, positive in ((bad, True), (good, False)):
        found = [match[1] for text in texts[1 - positive :: 2] if (match := denied.search(text))]
        assert len(found) > 5
        assert set(found) <= column


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": "reviews.csv"}, r"data.path \(reviews.csv\) has no effect with data=demo; drop it or use data=imdb"),
        ({"text_column": "body"}, r"data.text_column \(body\) must be text"),
        ({"label_column": "stars"}, r"data.label_column \(stars\) must be label"),
        ({"num_reviews": 5}, r"num_reviews \(5\) must be at least 6"),
        ({"seed": -1}, r"seed \(-1\) must be at least 0"),
    ],
)
def test_what_has_no_effect_is_refused(change, words):
    with pytest.raises(UserError, match=words):
        read(**change)


def test_the_smallest_corpus_can_be_split(tmp_path):
    reader = partial(read_demo, num_reviews=6)
    for split, sizes in (("holdout", (2, 2, 2)), ("official", (4, 2, 3))):
        module = Reviews(path=None, reader=reader, label_names=["neg", "pos"], cache_dir=str(tmp_path), split=split)
        module.setup()
        assert tuple(module.fingerprint["sizes"].values()) == sizes
        assert module.fingerprint["overlap"]["test_rows_in_train"] == 0


def bag_of_words(loader, vocab_size):
    """(N, V) zeros and ones, and labels (N,)."""
    bags, labels = [], []
    for batch in loader:
        bags.append(torch.zeros(len(batch.labels), vocab_size).scatter_(1, batch.ids, 1.0))
        labels.append(batch.labels)
    bag = torch.cat(bags)
    bag[:, 0] = 0  # padding is no word
    return bag.numpy(), torch.cat(labels).numpy()


def best_logistic_regression(module):
    """Validation accuracy of a logistic regression on single words, at the better of two strengths of its penalty."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = bag_of_words(module.train_dataloader(), len(module.vocabulary))
    x_val, y_val = bag_of_words(module.val_dataloader(), len(module.vocabulary))
    models = [linear_model.LogisticRegression(C=c, max_iter=1000).fit(x, y) for c in (0.1, 1)]
    return max(model.score(x_val, y_val) for model in models)


def train_bilstm(module, *, epochs):
    """Validation accuracy of a small BiLSTM after a few epochs of the plain loop."""
    torch.manual_seed(0)
    network = BiLSTM(vocab_size=len(module.vocabulary), width=64, hidden=64, pooling="max")
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    loader = module.train_dataloader()
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        if epoch == epochs - 1:
            optimizer.param_groups[0]["lr"] /= 5
        for batch in loader:
            loss = cross_entropy(network(batch.ids, batch.lengths), batch.labels)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
    network.eval()
    with torch.no_grad():
        right = [network(batch.ids, batch.lengths).argmax(1) == batch.labels for batch in module.val_dataloader()]
    return float(np.mean(torch.cat(right).numpy()))


def test_single_words_stay_below_80_percent_and_a_bilstm_passes_95(reviews):
    words, sequence = best_logistic_regression(reviews), train_bilstm(reviews, epochs=5)
    assert words <= 0.80, f"logistic regression {words:.3f}, BiLSTM {sequence:.3f}"
    assert sequence >= 0.95, f"logistic regression {words:.3f}, BiLSTM {sequence:.3f}"
