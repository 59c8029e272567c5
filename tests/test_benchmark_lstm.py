"""The LSTM benchmark compares loops that do the same work on the same reviews; no test looks at a time."""

import csv
import json
import math
import random
import subprocess

import numpy as np
import pytest
import torch

from src.benchmark import lstm, plain_process
from src.benchmark.lstm_data import cut, epoch_draws, representative, write_reviews
from src.benchmark.lstm_rows import make_rows, percent_over
from src.benchmark.plain_loop import PlainBiLSTM, ReviewDataset
from src.benchmark.plain_process import PlainProcess
from src.data.module import Reviews
from src.data.sampler import Draw
from src.data.source import read_corpus
from src.errors import UserError
from src.launch.build import quiet
from src.model.bilstm import BiLSTM
from src.run.hardware import describe_processor

SIZES = {"vocab_size": 60, "width": 4, "hidden": 4}


@pytest.fixture
def data(tmp_path):
    """160 reviews of 1 to 30 words, 8 to a batch."""
    draw = random.Random(1)
    rows = [(" ".join(f"w{draw.randrange(50)}" for _ in range(1 + n % 30)) + f" x{n}", n % 2) for n in range(160)]
    with open(tmp_path / "reviews.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    common = {"reader": read_corpus, "label_names": ["neg", "pos"], "cache_dir": str(tmp_path / "cache")}
    module = Reviews(path=str(tmp_path / "reviews.csv"), vocab_size=60, max_length=9, batch_size=8, **common)
    module.prepare_data()
    module.setup()
    return module


@pytest.mark.parametrize("parallel", [True, False])
def test_the_plain_network_is_ours_with_the_mean_over_all_steps(parallel):
    """One seed gives both the same first weights, and then the same logits."""
    torch.manual_seed(3)
    plain = PlainBiLSTM(**SIZES).eval()
    torch.manual_seed(3)
    ours = BiLSTM(**SIZES, pooling="mean", parallel_directions=parallel).eval()
    assert {name: value.tolist() for name, value in plain.state_dict().items()} == {
        name: value.tolist() for name, value in ours.state_dict().items()
    }
    ids, lengths = torch.randint(1, 60, (5, 7)), torch.tensor([7, 1, 3, 7, 2])
    ids[torch.arange(7) >= lengths[:, None]] = 0
    torch.testing.assert_close(plain(ids), ours(ids, lengths), atol=1e-6, rtol=0)


def test_the_plain_loop_reads_the_reviews_that_our_batches_hold(data, tmp_path):
    """Item by item: the padded ids and the label of each review in the file equal the row of a batch of ours."""
    view = cut(data.views, 12)["train"]
    write_reviews(cut(data.views, 12), tmp_path / "reviews.npz")
    arrays = np.load(tmp_path / "reviews.npz")
    plain = ReviewDataset(*(arrays[f"train_{part}"] for part in ("ids", "lengths", "labels")))
    assert len(plain) == len(view)
    for number in range(len(view)):
        batch = view[Draw(np.array([number]), 1.0)]
        ids, label = plain[number]
        assert ids.shape == (12,)
        assert ids[: batch.lengths[0]].tolist() == batch.ids[0].tolist()
        assert not ids[batch.lengths[0] :].any()
        assert label == batch.labels[0]


def test_the_chosen_batches_have_the_mean_length_of_the_epoch(data):
    """Six of sixteen batches: all full, all different, and within 10 % of the epoch's padded length."""
    view = cut(data.views, 30)["train"]
    widest = [view.lengths[draw.indices].max() for draw in epoch_draws(data, view, 0)]
    chosen = representative(data, view, 6)
    numbers = np.concatenate([draw.indices for draw in chosen])
    assert len(set(numbers.tolist())) == len(numbers) == 48
    assert np.mean([view.lengths[draw.indices].max() for draw in chosen]) == pytest.approx(np.mean(widest), rel=0.1)


def test_more_batches_than_there_are_is_refused_by_name(data):
    with pytest.raises(UserError, match=r"suite.batches \(99\) must be at most 16"):
        representative(data, data.views["train"], 99)


def test_every_loop_is_timed_on_the_same_reviews_and_fits_the_same_epochs(data, monkeypatch):
    """The whole suite at a tiny size: a row per loop, each over its own share of phases, two with a loss."""
    quiet()
    works = []
    monkeypatch.setattr(
        lstm, "measure", lambda contenders, **rest: works.append(contenders) or measured(contenders, **rest)
    )
    rows = lstm.compare(
        data=data, max_lengths=[9, 12], rounds=2, batches=3, epochs=1, width=4, hidden=4, same_environment=False
    )
    precisions = ["fp32", "bf16"] if describe_processor()["bf16_units"] else ["fp32"]
    loops = [(loop, precision) for precision in precisions for loop in ("plain", "bare")]
    expected = [*loops, ("lightning", precisions[-1])]
    assert [(row["words"], row["loop"], row["precision"]) for row in rows] == [
        (w, *key) for w in (9, 12) for key in expected
    ]
    for row in rows:
        assert row["reviews/s"] >= row["median"] > 0
        assert all(row[f"{phase} ms"] > 0 for phase in ("data", "forward", "backward", "step"))
        assert ("val loss" in row) == (row["precision"] == precisions[-1] and row["loop"] != "lightning")
        assert 0.5 < row.get("val loss", math.log(2)) < 1
    for contenders in (work for work in works if len(work) > 2):
        shares = {
            tuple(sorted(work if key[0] == "plain" else np.concatenate([draw.indices for draw in work]).tolist()))
            for key, (_, work) in contenders.items()
        }
        assert len(shares) == 1
        assert len(shares.pop()) == 24


measured = lstm.measure


def test_ratios_take_the_best_round_and_the_median_is_over_all():
    """Two rounds by hand: 4 s and 2 s plain, 1 s bare, 1.1 s Lightning, for 10 reviews in 2 batches."""

    def round_of(seconds):
        return {"data": 0.1 * seconds, "forward": 0.2 * seconds, "backward": 0.3 * seconds, "step": 0.4 * seconds}

    timings = {
        ("plain", "fp32"): [round_of(4), round_of(2)],
        ("bare", "fp32"): [round_of(1), round_of(1)],
        ("lightning", "fp32"): [round_of(1.1), round_of(1.5)],
    }
    overhead = {("lightning", "fp32"): 10.0}
    options = {"max_length": 9, "reviews": 10, "batches": 2, "plain": "plain", "overhead": overhead}
    plain, bare, through = make_rows(timings, {("bare", "fp32"): 0.5}, **options)
    assert plain["reviews/s"] == pytest.approx(5)
    assert plain["median"] == pytest.approx(10 / 3)
    assert bare["x plain fp32"] == pytest.approx(2)
    assert through["x plain fp32"] == pytest.approx(2 / 1.1)
    assert through["over bare %"] == 10
    assert plain["backward ms"] == pytest.approx(300)
    assert bare["val loss"] == 0.5
    assert not {"over bare %", "val loss"} & set(plain)


def test_overhead_compares_neighbouring_rounds():
    """The machine slows down tenfold after the first round: pairs still say 10 %, best against best would say 50 %."""
    rounds, base = [{"step": 1.5}, {"step": 11.0}, {"step": 11.0}], [{"step": 1.0}, {"step": 10.0}, {"step": 10.0}]
    assert percent_over(rounds, base) == pytest.approx(10)


@pytest.mark.parametrize("same_environment", [True, False])
def test_the_plain_loop_runs_without_this_projects_environment_unless_asked(same_environment, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    started = []
    monkeypatch.setattr(plain_process.subprocess, "Popen", lambda *_, env, **__: started.append(env))
    PlainProcess(tmp_path / "none.npz", same_environment=same_environment)
    assert ("OMP_WAIT_POLICY" in started[0]) == same_environment
    assert "PATH" in started[0]


def test_a_plain_loop_that_dies_is_an_error_and_not_a_wait(tmp_path, monkeypatch):
    """Its own traceback goes to standard error; here the exit code is named."""
    monkeypatch.setattr(plain_process.plain_loop, "__file__", str(tmp_path / "broken.py"))
    (tmp_path / "broken.py").write_text("import sys\nsys.stdin.readline()\nsys.exit(3)\n")
    with (
        PlainProcess(tmp_path / "none.npz", same_environment=True) as process,
        pytest.raises(RuntimeError, match="code 3"),
    ):
        process.train([0])


def test_the_plain_loop_knows_nothing_of_this_project():
    """Importing its file by path loads no module of src, so its process runs with torch's own settings."""
    found = "[name for name in sys.modules if name.startswith('src')]"
    code = f"import json, runpy, sys; runpy.run_path(sys.argv[1]); print(json.dumps({found}))"
    command = [plain_process.sys.executable, "-c", code, plain_process.plain_loop.__file__]
    assert json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout) == []
