"""The report: one valid, self-contained page for whole runs and for what failed ones leave behind."""

import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from src.errors import UserError
from src.report.axes import nice_range
from src.report.chart import Line, line_chart, thinned
from src.report.read import choose_axis, series
from src.report.run import reported_if_failed, write_report
from src.report.samples import read_samples
from src.run.files import write_json
from src.run.folder import RunFolder
from src.run.ledger import record_test
from src.run.predictions import write_predictions
from src.run.result import write_result
from src.run.status import recording

ROOT = Path(__file__).resolve().parents[1]
EVIL = "<script>alert('&\"x')</script>"
VOID = {"meta", "input"}  # without an end tag
METRICS = """epoch,step,train/loss,val/loss,val/acc,train/learning_rate,train/gradient_norm
0,4,,,,0.001,0.5
0,9,,0.70,0.50,,
0,9,0.69,,,,
1,14,,,,0.002,0.4
1,19,,0.41,0.80,,
1,19,0.45,,,,
2,29,,0.55,0.78,,
2,29,0.30,,,,
"""


class Page(HTMLParser):
    """Checks that every tag is closed in order; collects tags, words, references and identifiers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute of {tag} is given twice: {attrs}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def fill(folder: RunFolder, *, num_classes: int = 2) -> None:
    """All files of a finished run."""
    draw = np.random.default_rng(0)
    folder.write_config({"name": EVIL, "data": {"label_names": ["bad", "good"]}, "lr": 1e-3})
    folder.write_command(["python", "-m", "src.train", f"name={EVIL}"])
    folder.metrics.write_text(METRICS)
    data = {"sha256": "ab", EVIL: EVIL}
    write_json(folder.environment, {"git": {"commit": "c0ffee", "diff": EVIL}, "seed": 1, "data": data})
    write_result(folder.result, {"val/acc": 0.8, "test/acc": 0.79, "val/loss": 0.41, "seconds": 12.5, "note": EVIL})
    for path in (folder.predictions_val, folder.predictions_test):
        labels = draw.integers(num_classes, size=300)
        probabilities = draw.dirichlet(np.ones(num_classes), size=300) + np.eye(num_classes)[labels]
        write_predictions(path, rows=np.arange(300), labels=labels, probabilities=probabilities / 2)
    record_test(
        folder.path, arguments=[EVIL], checkpoint_sha256="ab" * 32, split="test", metrics={"test/acc": 0.79, "x": EVIL}
    )
    write_json(folder.status, {"state": "finished", "exit_code": 0, "started": "2025-01-01T00:00:00+00:00"})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """An empty run folder with a hostile name."""
    path = tmp_path / "2025_run <b>&amp;"
    path.mkdir()
    write_json(path / "status.json", {"state": "failed", "reason": EVIL, "exit_code": 1})
    return RunFolder(path)


def read(folder: RunFolder) -> Page:
    path = write_report(folder.path)
    assert path == folder.report
    return Page(path.read_text(encoding="utf-8"))


def test_a_whole_run_gives_every_part_of_the_page(folder: RunFolder) -> None:
    """Charts, matrices with the names of the classes, metrics, ledger, record."""
    fill(folder)
    page = read(folder)
    # Loss, accuracy; precision-recall, ROC, calibration; learning rate, gradient norm.
    assert page.tags.count("svg") == 7
    for words in (
        "The run finished.", "0.8000", "0.7900", "best epoch 2", "called good", "Confusion matrix, test",
        "best F1 on val", "abababababab", "c0ffee", "ROC", "Calibration", "Over-fitting after epoch 2",
        "false positive (bad called good)",
        "No mistakes on val.", "under-confident", "Gradient norm", "data.label_names",
    ):  # fmt: skip
        assert words in page.text, words
    assert "is missing" not in page.text
    assert folder.report.stat().st_size < 200_000


def test_text_of_the_run_never_becomes_markup(folder: RunFolder) -> None:
    """A script in the name, config, command, results, ledger, data and reason is shown as text."""
    for whole in (False, True):
        if whole:
            fill(folder)
        page = read(folder)
        assert page.tags.count("script") == (4 if whole else 1)  # ours, and the data of two sliders and of costs
        assert "img" not in page.tags
        assert EVIL in "".join(page.words)
        assert folder.path.name in page.text
    assert "".join(page.words).count("alert(") >= 6


def test_the_page_needs_no_network_and_its_policy_knows_its_script(folder: RunFolder) -> None:
    """No tag or attribute that loads something, no handler, no address in the style; one script, allowed by hash."""
    fill(folder)
    page = read(folder)
    assert not set(page.tags) & {"link", "img", "iframe", "object", "embed", "base", "form", "use", "image"}
    names = {name for name, _ in page.attributes}
    assert not names & {"src", "xlink:href", "srcset", "action"}
    assert not [name for name in names if name.startswith("on")]
    places = {value for name, value in page.attributes if name == "href"}
    assert places == {f"#{value}" for name, value in page.attributes if name == "id" and f"#{value}" in places}
    text = folder.report.read_text()
    assert not re.search(r"url\(|@import|https?://", text.partition("</style>")[0])
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [value for name, value in page.attributes if name == "content" and "default-src" in (value or "")]
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    )  # fmt: skip
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport" content="width=device-width' in text


NAMES = [
    "config", "command", "environment", "metrics", "result", "ledger", "predictions_val", "predictions_test",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["missing", "empty", "bytes"])
def test_a_lost_or_damaged_file_costs_only_its_part(folder: RunFolder, name: str, damage: str) -> None:
    """The page is valid and names the file, unless an empty one is as good as none (ledger, config)."""
    fill(folder)
    path = getattr(folder, name)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else bytes(range(256)))
    page = read(folder)
    assert "Summary" in page.text
    if (name, damage) not in {("command", "empty"), ("command", "bytes"), ("metrics", "empty"), ("metrics", "bytes")}:
        named = path.name in page.text or "was not used by this run" in page.text or "unreadable line" in page.text
        assert named, page.text


def test_a_run_that_failed_at_once_says_why_and_what_is_missing(folder: RunFolder) -> None:
    """Only status.json exists."""
    page = read(folder)
    assert "The run ended as failed" in page.text
    for name in ("config.yaml", "metrics.csv", "result.json", "predictions_val.npz", "predictions_test.npz"):
        assert f"{name} is missing" in page.text


def test_a_second_look_at_the_test_set_is_said_on_top(folder: RunFolder) -> None:
    """And both looks are listed."""
    fill(folder)
    record_test(folder.path, arguments=["x"], checkpoint_sha256=None, split="test", metrics={})
    page = read(folder)
    assert "The test set was used 2 times" in page.text
    assert "again" in page.text


def test_three_classes_get_matrices_and_one_class_gets_a_sentence(folder: RunFolder) -> None:
    """Curves of one class are undefined, and said to be."""
    fill(folder, num_classes=3)
    page = read(folder)
    assert "exist for two classes only" in page.text
    assert page.text.count("called 2") == 2
    ones = np.ones(5, dtype=int)
    for path in (folder.predictions_val, folder.predictions_test):
        write_predictions(path, rows=ones, labels=ones, probabilities=np.full((5, 2), 0.5))
    assert "no curves, because positives (5) and negatives (0)" in read(folder).text


def test_large_predictions_make_a_small_page(folder: RunFolder) -> None:
    """25,000 examples: curves are thinned, areas are not."""
    fill(folder)
    before = folder.report
    draw = np.random.default_rng(1)
    labels = draw.integers(2, size=25_000)
    p = draw.random(25_000)
    write_predictions(
        folder.predictions_test, rows=np.arange(25_000), labels=labels, probabilities=np.stack([1 - p, p], axis=1)
    )
    read(folder)
    assert before.stat().st_size < 200_000


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    """Nothing is written into it."""
    with pytest.raises(UserError, match=r"holds no status\.json"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_series_are_means_per_epoch_and_the_axis_follows_the_validations() -> None:
    """Two validations in one epoch: the axis becomes the step. NaN stays NaN."""
    rows = [
        {"epoch": 0.0, "step": 1.0, "train/loss": 1.0},
        {"epoch": 0.0, "step": 2.0, "train/loss": 3.0, "val/loss": 5.0},
        {"epoch": 1.0, "step": 4.0, "val/loss": float("nan")},
    ]
    assert series(rows, "train/loss", axis="epoch") == ([1.0], [2.0])
    assert choose_axis(rows) == "epoch"
    rows.append({"epoch": 1.0, "step": 5.0, "val/loss": 1.0})
    assert choose_axis(rows) == "step"
    places, values = series(rows, "val/loss", axis="step")
    assert places == [3.0, 5.0, 6.0]  # counted from 1, as in result.json
    np.testing.assert_array_equal(values, [5.0, np.nan, 1.0])


def test_points_land_where_the_axes_say() -> None:
    """On unit axes the corners are the corners of the frame; a value that is not finite breaks the line."""
    drawn = line_chart([Line("a", [0, 1], [0, 1])], title="t", x_name="x", y_name="y", unit=True)
    frame = re.search(r'data-frame="(\d+) (\d+) (\d+) (\d+)"', drawn)
    assert frame is not None
    left, right, top, bottom = map(float, frame.groups())
    assert f'class="line0" d="M{left:.1f},{bottom:.1f}L{right:.1f},{top:.1f}"' in drawn
    broken = line_chart([Line("a", [0, 1, 2, 3], [1, np.inf, 2, 3])], title="t", x_name="x", y_name="y")
    path = re.search(r'class="line0" d="([^"]*)"', broken)
    assert path is not None
    assert re.sub(r"[^ML]", "", path[1]) == "MML"
    assert line_chart([Line("a", [0], [np.nan])], title="t", x_name="x", y_name="y") == ""


def test_a_long_line_keeps_its_peaks() -> None:
    """10,000 points in at most 300, each of a stretch's lowest and highest; what is not finite stays a gap."""
    values = np.sin(np.arange(10_000) / 500)
    values[[1234, 7777]] = 9.0, -9.0
    values[5000:5500] = np.nan
    x, y = thinned(range(10_000), values.tolist())
    assert len(x) <= 300
    assert (max(y), min(y)) == (9.0, -9.0)
    assert x == sorted(x)
    assert any(np.isnan(y))
    np.testing.assert_array_equal(y, values[x])
    assert thinned([1, 2], [3.0, 4.0]) == ([1, 2], [3.0, 4.0])


@pytest.mark.parametrize(
    ("error", "state"), [(UserError("no such file <b>"), "failed"), (KeyboardInterrupt(), "killed")]
)
def test_a_run_that_failed_or_was_interrupted_gets_its_page_too(
    tmp_path: Path, error: BaseException, state: str
) -> None:
    """With the state and the reason that were recorded; the error itself passes on."""
    run = RunFolder.claim(tmp_path / "run")
    with pytest.raises(type(error)), reported_if_failed(run.path), recording(run):
        raise error
    page = Page(run.report.read_text())
    assert f"The run ended as {state}" in page.text
    assert str(error) in page.text


def test_a_report_that_cannot_be_written_does_not_hide_the_failure(tmp_path: Path, capsys) -> None:
    """A folder stands in its place."""
    run = RunFolder.claim(tmp_path / "run")

    def fail() -> None:
        run.report.mkdir()
        raise UserError("the reason")

    with pytest.raises(UserError, match="the reason"), reported_if_failed(run.path), recording(run):
        fail()
    assert "report.html could not be written" in capsys.readouterr().err


def test_the_page_of_an_earlier_attempt_is_not_taken_for_that_of_this_one(tmp_path: Path) -> None:
    """A run that is killed before its report must not look as if it had one."""
    run = RunFolder.claim(tmp_path / "run")
    run.report.write_text("failed")
    with reported_if_failed(run.path):
        assert not run.report.exists()
    assert not run.report.exists()


def test_a_language_model_shows_its_perplexity_and_what_it_wrote(folder: RunFolder) -> None:
    """The newest texts first, older ones folded; predictions are not missed."""
    folder.metrics.write_text("epoch,step,val/loss,val/ppl,val/bits_per_byte\n0,9,5.0,148.4,2.0\n0,19,4.5,90.0,1.8\n")
    (folder.path / "samples.txt").write_text(
        "== step 10\nFirst words\n\n== step 20\nThis film <i>is\n\n== step 20\nNo\n"
    )
    page = read(folder)
    for words in ("Perplexity by step", "Bits per byte by step", "Step 20, the last", "This film <i>is", "Step 10"):
        assert words in page.text
    assert "predictions" not in page.text
    assert "best step 20" in page.text
    assert page.text.index("This film") < page.text.index("First words")
    assert read_samples("no head\n") == {}


@pytest.mark.parametrize("values", [[0.1], [0, 0], [1e-9, 2e-9], [-5, 1e6], [0.301, 0.302], [np.nan], [3, 4]])
@pytest.mark.parametrize("whole", [False, True])
def test_ticks_are_few_inside_and_evenly_spaced(values: list[float], whole: bool) -> None:
    """One to eight of them; whole numbers where asked."""
    found = nice_range(values, whole=whole)
    finite = [value for value in values if np.isfinite(value)]
    assert all(found.low <= value <= found.high for value in finite)
    assert len(found.ticks) <= 8
    steps = np.diff(found.ticks)
    np.testing.assert_allclose(steps, steps[:1].repeat(len(steps)))
    slack = 1e-6 * (found.high - found.low)
    assert all(found.low - slack <= tick <= found.high + slack for tick in found.ticks)
    if whole:
        assert all(tick == round(tick) for tick in found.ticks)


def test_the_report_imports_neither_torch_nor_hydra() -> None:
    """It must work where only the files are."""
    code = (
        "import sys, src.report.run; "
        "print([name for name in ('torch', 'lightning', 'hydra', 'omegaconf', 'pandas') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
