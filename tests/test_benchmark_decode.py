"""The decode benchmark compares decoders that write the same text; no test looks at a time."""

from functools import partial

import pytest
import torch

from src.benchmark import decode
from src.benchmark.decode_contenders import Cached, Recomputed, copy_bandwidth
from src.benchmark.decode_rows import Facts, Key, make_rows
from src.cache.size import bytes_per_token
from src.errors import UserError
from src.model.transformer import Transformer

NETWORK = {"vocab_size": 40, "width": 16, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "feed_forward_width": 24}


@pytest.fixture(autouse=True)
def small_copy(monkeypatch):
    """The bandwidth of a megabyte, so that no test moves gigabytes."""
    monkeypatch.setattr(decode, "copy_bandwidth", partial(copy_bandwidth, megabytes=1, times=2))


def compare(**changed):
    options = {"network": NETWORK, "prompt": 3, "lengths": [8, 20], "batches": [1, 3], "precisions": ["fp32", "bf16"]}
    options |= {"rounds": 2, "every": 4, "threads": 1, "device": "cpu", "fuse": False}
    return decode.compare(**options | changed)


def test_every_cache_writes_the_text_of_the_contiguous_one_in_fp32(capsys):
    rows = compare(precisions=["fp32"])
    assert [row["B/token"] for row in rows[:4]] == [36_864, 327_680, 2_621_440, 0]
    measured = rows[4:]
    assert [(row["batch"], row["cache"]) for row in measured] == [
        (batch, cache) for batch in (1, 3) for cache in ("none", "contiguous", "paged", "concatenated")
    ]
    assert all(row["same %"] == 100 for row in measured)
    assert "GB/s, measured here" in capsys.readouterr().out


def test_memory_held_is_that_of_the_formula():
    """Twenty tokens of room, nineteen stored: the last one is written down but never read."""
    rows = {(row["weights"], row["cache"]): row for row in compare(batches=[3], rounds=1)[4:]}
    for precision, size in (("fp32", 4), ("bf16", 2)):
        per_token = bytes_per_token(2, 1, 8, size)
        assert rows[precision, "contiguous"]["B/token"] == per_token
        assert rows[precision, "contiguous"]["MiB held"] * 2**20 == 3 * 20 * per_token
        assert rows[precision, "concatenated"]["MiB held"] * 2**20 == 3 * 19 * per_token
        assert rows[precision, "paged"]["MiB held"] * 2**20 >= 3 * 20 * per_token
        assert "MiB held" not in rows[precision, "none"]


def test_without_a_cache_only_the_timed_places_are_recomputed():
    """Every fourth token is put in anew; a wrong text would show there."""
    torch.manual_seed(0)
    network = Transformer(**NETWORK, max_length=20).eval()
    prompt = torch.randint(40, (2, 3))
    _, texts = Cached(network, kind="contiguous", batch=2, longest=20, fuse=False).run(prompt, [20])
    assert texts.shape == (2, 20)
    wrong = texts.clone()
    wrong[:, [5, 9, 13, 17]] += 1
    seconds, found = Recomputed(network, texts=texts, every=4).run(prompt, [8, 20])
    assert torch.equal(found, texts)
    assert len(seconds) == 2
    assert not torch.equal(Recomputed(network, texts=wrong, every=4).run(prompt, [20])[1], wrong)


def test_a_contender_runs_any_number_of_times():
    torch.manual_seed(0)
    network = Transformer(**NETWORK, max_length=20).eval()
    prompt = torch.randint(40, (2, 3))
    for kind in ("contiguous", "paged", "concatenated"):
        cached = Cached(network, kind=kind, batch=2, longest=20, fuse=False)
        first, second = (cached.run(prompt, [10, 20])[1] for _ in range(2))
        assert torch.equal(first, second)


def test_rates_ratios_and_shares_multiply_out():
    """By hand: 90 tokens behind the prompt of 10, two rows, 2 s and 4 s, the best round counts."""
    none, cached, narrow = Key(2, "fp32", "none"), Key(2, "fp32", "paged"), Key(2, "bf16", "paged")
    timings = {none: [[1.0, 20.0], [1.0, 18.0]], cached: [[0.5, 4.0], [0.6, 2.0]], narrow: [[0.2, 1.0], [0.2, 1.0]]}
    facts = {
        none: Facts(held=0, read=0.0, per_token=8, same=1.0),
        cached: Facts(held=2**21, read=1000.0, per_token=8, same=1.0),
        narrow: Facts(held=2**20, read=500.0, per_token=4, same=0.5),
    }
    slow, fast, half = make_rows(timings, facts, prompt=10, lengths=[20, 100], bandwidth=90_000.0, plain="none")
    assert (slow["tok/s 20"], slow["tok/s 100"], slow["x 100"]) == (20, 10, 1)
    assert (fast["tok/s 20"], fast["tok/s 100"], fast["median"]) == (40, 90, 60)
    assert (fast["x 20"], fast["x 100"], fast["MiB held"]) == (2, 9, 2)
    assert fast["bandwidth %"] == pytest.approx(50)  # 45 steps a second of 1,000 bytes
    assert (half["x fp32"], half["same %"]) == (2, 50)
    assert "x 100" not in half
    assert "bandwidth %" not in slow


def test_threads_are_given_back(monkeypatch):
    before = torch.get_num_threads()
    seen = []
    monkeypatch.setattr(decode, "measure", lambda *_, **__: seen.append(torch.get_num_threads()) or ({}, {}))
    monkeypatch.setattr(decode, "make_contenders", lambda *_, **__: ({}, {}))
    compare(threads=before + 1)
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("lengths", [[], [20, 8], [6, 20], [20, 20]])
def test_lengths_that_cannot_be_measured_are_refused(lengths):
    with pytest.raises(UserError, match=r"suite.lengths"):
        compare(lengths=lengths)
