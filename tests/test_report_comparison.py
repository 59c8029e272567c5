"""Pages about many runs, in a real browser: what switches and dragged ranges leave over, numbers against slow ones."""

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from src.errors import UserError
from src.evaluation.paired import compare
from src.report.__main__ import main, write
from src.report.comparison import write_comparison
from src.report.overlay import Shown, coloured, overlay
from src.report.scale import fit, of_words, short_names
from src.report.sweep import write_sweep_report
from src.run.metrics import read_rows
from src.run.predictions import read_predictions
from src.sweep.read import read
from tests.browser import PHONE, chromium, opened
from tests.many_runs import final_loss, make_run, make_sweep

ROOT = Path(__file__).parents[1]
EVIL = "<script>alert('&\"x')</script>"
PAIRS = [(1e-3, 0), (1e-3, 1), (1e-2, 0), (1e-2, 1)]  # seed 0 is also that of the corpus, which stays


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Two configs with two seeds each, and their page."""
    root = tmp_path_factory.mktemp("four")
    runs = []
    for place, (lr, seed) in enumerate(PAIRS):
        name = f"2026-11-01_12-00-0{place}_bilstm_aaaaaa0{place}"
        right = 0.88 if lr == 1e-3 else 0.8
        told = {"optimizer.lr": lr, "seed": seed, "note": EVIL}
        runs.append(make_run(root / name, told, predictions=500, accuracy=right))
        (runs[-1] / "report.html").write_text("a page")
    return runs, write_comparison(runs, root / "reports" / "page.html")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A grid with a failed job, a job with a page, and the sweep's page."""
    folder = make_sweep(tmp_path_factory.mktemp("sweeps") / "grid", fails=(3,), overrides=[])
    (folder / "0" / "report.html").write_text("a page")
    return folder, write_sweep_report(folder)


def visible(found, selector):
    """The runs of the marks that can be seen."""
    marks = found.page.locator(selector).all()
    return [mark.get_attribute("data-runs") for mark in marks if mark.is_visible()]


def cells_of(found, section):
    """The first table of a section, by the first cell of each row."""
    rows = found.page.locator(f"#{section} table").first.locator("tr").all()
    texts = [[cell.inner_text() for cell in row.locator("th, td").all()] for row in rows]
    return {row[0]: row[1:] for row in texts}


def test_a_switch_hides_its_run_in_all_charts(browser, four):
    """And none and all do what they say."""
    with opened(browser, four[1]) as found:
        curves = "figure.overlay path[data-runs]"
        assert visible(found, curves) == ["0", "1", "2", "3"] * 3
        found.page.locator('input[data-switch="1"]').uncheck()
        assert visible(found, curves) == ["0", "2", "3"] * 3
        found.page.get_by_role("button", name="none").click()
        assert visible(found, curves) == []
        found.page.locator('input[data-switch="2"]').check()
        assert visible(found, curves) == ["2"] * 3
        found.page.get_by_role("button", name="all", exact=True).click()
        assert visible(found, curves) == ["0", "1", "2", "3"] * 3
        assert (found.errors, found.requests) == ([], [])


def test_the_pointer_finds_the_nearest_curve(browser, four):
    """Its run and value are those of metrics.csv; a curve that is switched off is not found."""
    with opened(browser, four[1]) as found:
        chart = found.page.locator("figure.overlay").first
        chart.scroll_into_view_if_needed()
        for run in (0, 3):
            spot = chart.locator(f'path[data-runs="{run}"]').evaluate(
                "path => { const m = path.getScreenCTM(); const p = path.getPointAtLength(path.getTotalLength());"
                " return [m.a * p.x + m.e, m.d * p.y + m.f]; }"
            )
            found.page.mouse.move(*spot)
            value = read_rows(four[0][run] / "metrics.csv")[-1]["val/loss"]
            name, words = chart.locator(".tip").inner_text().split("\n")
            assert name.startswith("ABCD"[run])
            assert words == f"epoch 6: {value:.4g}"
        found.page.locator('input[data-switch="3"]').uncheck()
        found.page.mouse.move(*spot)
        assert chart.locator(".tip").inner_text().startswith("C")


def test_means_and_deviations_are_over_the_seeds_of_a_config(browser, four):
    """Against statistics; the best is bold. The note, in which all are alike, is no difference and no danger."""
    with opened(browser, four[1]) as found:
        losses = [final_loss({"optimizer.lr": lr, "seed": seed, "note": EVIL}) for lr, seed in PAIRS]
        pairs = losses[:2], losses[2:]
        shown = [f"{statistics.mean(pair):.4f} ± {statistics.stdev(pair):.4f} (2)" for pair in pairs]
        assert cells_of(found, "metrics")["val/loss"] == shown
        assert found.page.locator("#metrics table").first.locator("b").all_inner_texts()[-1] == shown[0]
        assert cells_of(found, "config-differences") == {
            "key": ["A", "B", "C", "D"],
            "optimizer.lr": ["0.001", "0.001", "0.01", "0.01"],
            "seed": ["0", "1", "0", "1"],
        }
        assert (found.errors, found.requests) == ([], [])


def test_the_two_best_of_different_configs_are_tested_in_pairs(browser, four):
    """The sentence is that of the paired test; two seeds are said to be too few."""
    with opened(browser, four[1]) as found:
        words = found.text("#summary")
        losses = [final_loss({"optimizer.lr": lr, "seed": seed, "note": EVIL}) for lr, seed in PAIRS]
        best, other = losses.index(min(losses[:2])), losses.index(min(losses[2:]))
        a, b = (read_predictions(four[0][place] / "predictions_test.npz") for place in (best, other))
        names = "ABCD"[best], "ABCD"[other]
        expected = compare(a, b, names=names)
        assert expected.sentence in words
        assert f"Accuracy on test: {names[0]} {expected.a_accuracy:.4f}, {names[1]} {expected.b_accuracy:.4f}" in words
        assert f"{names[0]} has the lowest val/loss" in words
        assert "so few seeds cannot show a difference" in words


def test_links_lead_from_the_page_to_the_pages_of_its_runs(browser, four, sweep):
    """Wherever the page is."""
    runs, path = four
    with opened(browser, path) as found:
        links = [link.evaluate("link => link.href") for link in found.page.locator("#summary a").all()]
    assert links == [(run / "report.html").resolve().as_uri() for run in runs]
    with opened(browser, sweep[1]) as found:
        links = [link.evaluate("link => link.href") for link in found.page.locator("#ranking td a").all()]
    assert links == [(sweep[0] / "0" / "report.html").resolve().as_uri()]


def drag(found, axis, *, low, high):
    """Along the axis between two shares of it, as a hand would."""
    svg = found.page.locator("svg.parallel")
    svg.scroll_into_view_if_needed()
    x, top, bottom = svg.evaluate(
        "(svg, axis) => { const m = svg.getScreenCTM(); const band = svg.querySelector(`[data-axis='${axis}']`);"
        " const [top, bottom] = svg.dataset.sides.split(' ').map(Number);"
        " const x = band.x.baseVal.value + band.width.baseVal.value / 2;"
        " return [m.a * x + m.e, m.d * top + m.f, m.d * bottom + m.f]; }",
        axis,
    )
    for share, move in ((low, "down"), ((low + high) / 2, ""), (high, "up")):
        found.page.mouse.move(x, bottom + share * (top - bottom))
        if move:
            getattr(found.page.mouse, move)()


def test_a_range_on_an_axis_leaves_the_jobs_in_it(browser, sweep):
    """In the lines, curves, rows and dots; ranges on two axes are both kept; a tap lets go."""
    values = {str(job.number): job.values[0] for job in read(sweep[0]).jobs if job.values}
    middle = (min(values.values()) + max(values.values())) / 2
    lower = {number for number, value in values.items() if value <= middle}
    with opened(browser, sweep[1]) as found:
        curves, rows = "figure.overlay path[data-runs]", "#ranking tr[data-runs]"
        assert len(visible(found, rows)) == 6
        assert found.text("[data-shown-runs]") == "12 of 12 jobs"
        drag(found, 3, low=-0.02, high=0.5)
        assert set(visible(found, curves)) == lower
        assert found.text("[data-shown-runs]") == f"{len(lower)} of 12 jobs"
        assert all(set(runs.split()) & lower for runs in visible(found, rows))
        assert set(visible(found, "figure.points circle")) == lower
        drag(found, 1, low=0.9, high=1.02)  # pooling=mean
        both = {str(job.number) for job in read(sweep[0]).jobs if job.params["model.pooling"] == "mean"} & lower
        assert set(visible(found, curves)) == both
        assert 0 < len(both) < len(lower)
        drag(found, 1, low=0.5, high=0.5)
        assert set(visible(found, curves)) == lower
        found.page.get_by_role("button", name="show all").click()
        assert set(visible(found, curves)) == set(values) | {"3"}
        drag(found, 3, low=-0.14, high=-0.05)
        assert found.text("[data-shown-runs]") == "1 of 12 jobs", "the failed job is below the axis"
        assert (found.errors, found.requests) == ([], [])


def test_the_sweep_page_says_what_ranked_failed_and_decided(browser, sweep):
    """The same words as the terminal, the reason of the failure, the share of each axis."""
    with opened(browser, sweep[1]) as found:
        from src.sweep.ranking import rank, spread

        groups = rank(sweep[0]).groups
        assert cells_of(found, "ranking")["1"][:2] == [spread(groups[0], 0), "2"]
        assert "1 failed" in found.text("#ranking")
        failed = cells_of(found, "jobs-without-a-result")["3"]
        assert failed[:2] == ["failed", "Diverged: the loss is not finite in step 31."]
        assert found.page.locator(".bars div").count() == 3


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_scrolls_sideways_but_tables_and_axes(browser, four, sweep, dark):
    """360 wide; the page itself stays."""
    for path in (four[1], sweep[1]):
        with opened(browser, path, size=PHONE, dark=dark) as found:
            assert found.page.evaluate("document.documentElement.scrollWidth") == 360
            assert (found.errors, found.requests) == ([], [])


def test_without_a_script_all_is_there_but_the_controls(browser, four, sweep):
    """Curves, ranking, lines."""
    for path, curves in ((four[1], 12), (sweep[1], 36)):
        with opened(browser, path, script=False) as found:
            assert len(visible(found, "figure.overlay path[data-runs]")) == curves
            assert not found.page.locator("input[data-switch]").first.is_visible()


def test_text_from_files_stays_text(browser, tmp_path):
    """In names, values, reasons and labels."""
    jobs = [{"note": EVIL, "model.pooling": "max"}, {"note": "plain", "model.pooling": EVIL}, {"note": "a", "b": EVIL}]
    folder = make_sweep(tmp_path / "sweep", {"note": [EVIL, "plain"]}, jobs=jobs, overrides=[], fails=(2,))
    lines = (folder / "jobs.jsonl").read_text().replace("Diverged: ", json.dumps(EVIL)[1:-1])
    (folder / "jobs.jsonl").write_text(lines)
    runs = [folder / "0", folder / "1"]
    for path in (write_sweep_report(folder), write_comparison(runs, tmp_path / "page.html")):
        with opened(browser, path) as found:
            assert found.page.locator("script").count() == 1
            assert EVIL in found.page.locator("main").inner_text()
            assert (found.errors, found.requests) == ([], [])


def test_many_long_curves_make_a_small_page():
    """500 runs of 2,000 steps: fewer points for each, at most 200, first and last among them."""
    rows = [{"epoch": 0.0, "step": float(s), "val/loss": 1 / (s + 1), "train/loss": 0.5} for s in range(2000)]
    many = [Shown(number=n, name=f"run {n}", look=coloured(n), rows=rows) for n in range(500)]
    assert len(overlay(many)) < 2_000_000
    drawn = overlay(many[:1])
    points = drawn.split('data-values="')[1].split('"')[0].split()
    assert len(points) <= 200
    assert (points[0], points[-1]) == ("1,1", "2000,0.0005")


def test_runs_with_little_in_common_are_compared_as_far_as_it_goes(tmp_path):
    """Another monitor, no metrics, no config, damaged predictions: a sentence each."""
    good = make_run(tmp_path / "a", {"optimizer.lr": 0.1}, predictions=50)
    other = make_run(tmp_path / "b", {"monitor": "val/acc", "monitor_mode": "max"}, predictions=50)
    bare = tmp_path / "c"
    bare.mkdir()
    (bare / "status.json").write_text('{"state": "failed", "reason": "UserError: no data"}')
    text = write_comparison([good, other, bare], tmp_path / "page.html").read_text()
    assert "The runs monitor different metrics (val/acc, val/loss)" in text
    assert "UserError: no data" in text
    (other / "config.yaml").write_text("a: [")
    text = write_comparison([good, other], tmp_path / "page.html").read_text()
    assert "config.yaml cannot be read" in text
    same = make_run(tmp_path / "d", {"optimizer.lr": 0.2}, predictions=50)
    (same / "predictions_test.npz").write_bytes(b"no")
    text = write_comparison([good, same], tmp_path / "page.html").read_text()
    assert "Whether the difference is real cannot be told: predictions_test.npz cannot be read" in text


@pytest.mark.parametrize(
    ("values", "log"),
    [([1e-4, 1e-2], True), ([1, 20], False), ([1, 20.1], True), ([0, 100], False), ([-1, 50], False), ([3], False)],
)
def test_values_that_spread_more_than_twentyfold_get_a_logarithmic_axis(values, log):
    """Positive ones; shares run from 0 to 1 in the order of the values, and ticks stand on the axis."""
    scale = fit(values)
    assert scale.log == log
    if len(values) > 1:
        assert [scale.share(value) for value in values] == [0, 1]
        middle = np.sqrt(values[0] * values[1]) if log else np.mean(values)
        assert scale.share(middle) == pytest.approx(0.5)
        assert scale.value(0.5) == pytest.approx(middle)
    assert all(-1e-9 <= scale.share(tick) <= 1 + 1e-9 for tick, _ in scale.ticks)
    assert 1 <= len(scale.ticks) <= 8


def test_words_stand_at_even_distances():
    """One alone in the middle."""
    assert [of_words(["a", "b", "c"]).share(value) for value in (0, 1, 2)] == [0, 0.5, 1]
    assert of_words(["a"]).share(0) == 0.5


def test_keys_are_called_by_the_shortest_end_that_tells_them_apart():
    """`lr`, unless two keys end in it."""
    names = short_names(["optimizer.lr", "model.width", "head.width", "width"])
    assert names == {"optimizer.lr": "lr", "model.width": "model.width", "head.width": "head.width", "width": "width"}


def test_the_command_writes_the_page_that_was_meant(tmp_path, capsys):
    """One run, one sweep, several runs; names below root as well."""
    root = tmp_path / "outputs"
    names = [f"2026-11-01_12-00-0{n}_bilstm_aaaaaa0{n}" for n in range(2)]
    for place, name in enumerate(names):
        make_run(root / "train" / name, {"seed": place})
    folder = make_sweep(root / "sweeps" / "2026-11-01_12-00-00_beefbeef", {"a": ["1", "2"]}, overrides=[])
    assert main([names[0][-8:], f"root={root}"]) == 0
    assert capsys.readouterr().out.strip() == str(root / "train" / names[0] / "report.html")
    assert write(["beefbeef", f"root={root}"]) == folder / "report.html"
    assert write([str(folder)]) == folder / "report.html"
    assert write([*names, f"root={root}", f"to={tmp_path}/new/page.html"]) == tmp_path / "new" / "page.html"
    made = write([*names, f"root={root}"])
    assert made.parent == root / "reports"
    assert "2 runs compared" in made.read_text()
    assert write([str(folder / "0"), str(folder / "1"), f"to={tmp_path}/jobs.html"]).is_file()


def test_the_page_of_one_run_or_sweep_may_lie_elsewhere_and_its_links_lead_back(tmp_path):
    folder = make_sweep(tmp_path / "50 % #1", {"a": ["1", "2"]}, overrides=[], fails=(1,))
    for job in ("0", "1"):
        write([str(folder / job)])
    assert write([str(folder / "0"), f"to={tmp_path}/pages/run.html"]) == tmp_path / "pages" / "run.html"
    page = write([str(folder), f"to={tmp_path}/pages/sweep.html"])
    links = re.findall(r'href="([^#"]+)"', page.read_text())
    assert {(page.parent / unquote(link)).resolve() for link in links} == {
        folder / "summary.csv",
        folder / "0" / "report.html",
        folder / "1" / "report.html",
    }
    assert not (folder / "report.html").exists()


def test_a_page_that_cannot_be_written_is_a_sentence(tmp_path, capsys):
    runs = [make_run(tmp_path / name, {}) for name in ("lr=0.1 #1", "b")]
    assert main([*map(str, runs), "to=/dev/null/page.html"]) == 2
    assert capsys.readouterr().err.startswith("/dev/null")
    (tmp_path / "b" / "report.html").mkdir()
    assert main([str(tmp_path / "b")]) == 2
    assert capsys.readouterr().err.endswith("; to=FILE names another place for the page.\n")
    (tmp_path / "b" / "report.html").rmdir()
    (tmp_path / "lr=0.1 #1" / "report.html").touch()
    assert main([*map(str, runs), f"to={tmp_path}/page.html"]) == 0
    assert 'href="lr%3D0.1%20%231/report.html"' in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a", "nowhere"], r"run \(nowhere\) is no run folder"),
        (["a", "a"], "a is given twice"),
        (["a", "sweep"], "sweep is a sweep, which has a page of its own; its jobs are runs too: sweep/0"),
        (["a", "to=x.txt"], r"to \(x.txt\) must be a file that ends in .html"),
        (["a", "b", "to=x.txt"], r"to \(x.txt\) must be a file that ends in .html"),
        (["a", "b", "too=x.html"], "too=x.html is no option here; did you mean to="),
        (["to=x.html"], "RUN... is missing"),
    ],
)
def test_wrong_words_are_refused_in_a_sentence(tmp_path, monkeypatch, capsys, words, sentence):
    """Exit code 2, and nothing is written."""
    make_run(tmp_path / "a", {})
    make_run(tmp_path / "b", {})
    make_sweep(tmp_path / "sweep", {"a": ["1", "2"]})
    monkeypatch.chdir(tmp_path)
    before = sorted(Path().rglob("*.html"))
    with pytest.raises(UserError, match=sentence):
        write(words)
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(Path().rglob("*.html")) == before


@pytest.mark.parametrize("what", ["no job", "one job", "all failed", "no curves"])
def test_a_sweep_with_next_to_nothing_has_a_page_all_the_same(browser, tmp_path, what):
    """Without errors, and with what there is."""
    jobs = 1 if what == "one job" else 3
    fails = range(3) if what == "all failed" else ()
    folder = make_sweep(tmp_path / "sweep", {"a": [str(n) for n in range(jobs)]}, fails=fails)
    if what == "no job":
        (folder / "jobs.jsonl").unlink()
    for path in folder.glob("*/metrics.csv") if what == "no curves" else ():
        path.unlink()
    with opened(browser, write_sweep_report(folder)) as found:
        words = {"no job": "No job has started", "all failed": "3 failed"}.get(what, "val/loss")
        assert words in found.text("main")
        assert (found.page.locator("figure.overlay").count() > 0) == (what in ("one job", "all failed"))
        assert (found.errors, found.requests) == ([], [])


def test_the_door_imports_neither_torch_nor_hydra_nor_optuna():
    """It reads files, and opens at once."""
    code = (
        "import sys, src.report.__main__; print(sorted({'torch', 'lightning', 'hydra', 'optuna'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
