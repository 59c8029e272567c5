"""The attention benchmark: its figures against arithmetic, its memory against the size of the scores; never a time."""

import inspect
import json
import math
import re

import pytest
from hydra.utils import instantiate

from src.benchmark import attention, attention_plot
from src.benchmark.attention_process import ProbeProcess
from src.benchmark.attention_rows import Cell, growth_rows, make_rows, power
from src.errors import UserError

SHAPE = {"batch_size": 1, "num_heads": 2, "num_kv_heads": 1, "head_width": 16}
SETTINGS = {"precisions": ["fp32"], "rounds": 1, "device": "cpu", **SHAPE}


def cell(backend, length, *, seconds, memory):
    return Cell(backend, "fp32", length, seconds, memory)


CELLS = [
    cell("naive", 1000, seconds={"forward": 0.1, "both": 0.4}, memory={"forward": 1_000_000, "both": 8_000_000}),
    cell("sdpa", 1000, seconds={"forward": 0.05, "both": 0.1}, memory={"forward": 10_000, "both": 1_000_000}),
    cell("flex", 1000, seconds={"forward": 0.2}, memory={"forward": 500_000}),
    cell("naive", 2000, seconds={"forward": 0.4, "both": 1.6}, memory={"forward": 4_000_000, "both": 32_000_000}),
    cell("sdpa", 2000, seconds={"forward": 0.2, "both": 0.4}, memory={"forward": 20_000, "both": 2_000_000}),
]


def test_the_power_is_that_of_the_formula():
    lengths = [256, 512, 2048, 4096]
    assert power(lengths, [3 * length**2 for length in lengths]) == pytest.approx(2)
    assert power(lengths, [7 * length for length in lengths]) == pytest.approx(1)
    # Least squares: a point that is off in the middle of a symmetric set does not turn the line.
    assert power([1, 2, 4], [1, 8, 16]) == pytest.approx(2)


def test_rows_hold_milliseconds_megabytes_and_ratios_to_naive():
    naive, sdpa, flex, *_ = make_rows(CELLS)
    assert naive["forward+backward ms"] == pytest.approx(400)
    assert naive["forward MB"] == pytest.approx(1)
    assert naive["x less time"] == naive["x less memory"] == 1
    assert sdpa["x less time"] == pytest.approx(4)
    assert sdpa["x less memory"] == pytest.approx(8)
    # Without a backward, forward against forward.
    assert flex["x less time"] == pytest.approx(0.5)
    assert flex["x less memory"] == pytest.approx(2)
    assert "forward+backward ms" not in flex


def test_growth_needs_two_lengths():
    naive, sdpa = growth_rows(CELLS)
    assert (naive["backend"], sdpa["backend"]) == ("naive", "sdpa")
    assert naive["forward+backward MB"] == pytest.approx(2)
    assert sdpa["forward+backward MB"] == pytest.approx(1)
    assert (naive["forward ms"], sdpa["forward ms"]) == pytest.approx((2, 2))


def test_what_the_system_does_not_tell_is_left_out():
    silent = {"forward": None, "both": None}
    cells = [cell(name, 1000, seconds={"forward": 1.0, "both": 2.0}, memory=silent) for name in ("naive", "sdpa")]
    for row in make_rows(cells):
        assert not any("MB" in name or "memory" in name for name in row)
    assert "nan" not in attention_plot.render(cells, title="x")


def test_the_page_is_whole_without_a_network():
    page = attention_plot.render(CELLS, title="T < 3")
    assert "T &lt; 3" in page
    assert page.count("<svg") == 4
    assert not re.search(r"https?:|<script src|<link|@import|url\(", page)
    for name in ("naive", "sdpa", "flex"):
        assert f"</i>{name}</span>" in page


def test_naive_keeps_all_scores_and_sdpa_does_not(tmp_path, capsys):
    """At 1,024 tokens the scores of 2 heads are 8.4 MB; naive holds them at least twice, SDPA not even once."""
    rows = attention.compare(lengths=[1024], backends=["naive", "sdpa"], folder=str(tmp_path), **SETTINGS)
    naive, sdpa = rows
    scores = 2 * 1024**2 * 4 / 1e6
    assert 2 * scores < naive["forward+backward MB"] < 5 * scores
    assert sdpa["forward+backward MB"] < scores
    assert naive["x less memory"] == 1
    assert sdpa["x less memory"] > 2
    assert all(row[f"{name} ms"] > 0 for row in rows for name in ("forward", "forward+backward"))
    [page] = tmp_path.glob("*_attention.html")
    assert capsys.readouterr().out.splitlines()[-1] == str(page)
    json.dumps(rows)


def test_a_length_that_does_not_fit_is_said_and_not_the_end():
    """A million tokens are 8 TB of scores."""
    with ProbeProcess(backend="naive", device="cpu", length=10**6, precision="fp32", shape=SHAPE, threads=1) as probe:
        assert probe.memory == {}
        assert probe.refused == "out of memory at 1000000 tokens"


class FakeProbe:
    """A backend that is measured in no time, or refuses."""

    def __init__(self, *, backend, length, **_):
        self.refused = "no device" if backend == "flash" else "no backward" if backend == "flex" else None
        names = () if backend == "flash" else ("forward",) if backend == "flex" else ("forward", "both")
        self.memory = dict.fromkeys(names, 1000 * length)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def seconds(self):
        return dict.fromkeys(self.memory, 0.5)


def test_a_refusal_is_told_once_and_the_others_are_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(attention, "ProbeProcess", FakeProbe)
    backends = ["naive", "sdpa", "flash", "flex"]
    rows = attention.compare(lengths=[256, 128], backends=backends, folder=str(tmp_path / "new"), **SETTINGS)
    out = capsys.readouterr().out
    assert out.count("flash, fp32: no device") == out.count("flex, fp32: no backward") == 1
    measured = [(row["backend"], row["tokens"]) for row in rows]
    assert measured[:6] == [(name, length) for length in (128, 256) for name in ("naive", "sdpa", "flex")]
    assert measured[6:] == [(name, "power of T") for name in ("naive", "sdpa", "flex")]
    assert all(math.isclose(row["forward MB"], 1) for row in rows[6:])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lengths": []}, r"suite.lengths \(\[\]\) must be different numbers of tokens, each 1 or more"),
        ({"lengths": [0]}, r"suite.lengths \(\[0\]\)"),
        ({"lengths": [8, 8]}, r"suite.lengths \(\[8, 8\]\)"),
        ({"backends": ["nive"]}, r"suite.backends \(\['nive'\]\) must be some of naive, sdpa, flash, flex, auto"),
        ({"precisions": ["bf61"]}, r"suite.precisions \(\['bf61'\]\) must be some of fp32, bf16, fp16"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_a_process_starts(tmp_path, changes, words):
    settings = {"lengths": [8], "backends": ["naive"], **SETTINGS} | changes
    with pytest.raises(UserError, match=words):
        attention.compare(folder=str(tmp_path), **settings)


def test_the_suite_names_every_setting(compose):
    """And needs no data: the door reads the signature to know."""
    suite = compose("suite=attention", "paths.output_dir=here", config_name="benchmark").suite
    assert suite.keys() - {"_target_", "_partial_"} == inspect.signature(attention.compare).parameters.keys()
    assert instantiate(suite).keywords["folder"] == "here/benchmark"
