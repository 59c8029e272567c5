"""The page of a run in a real browser: sliders, pointer, filter, without a script, on a phone, with hostile texts."""

import json
from pathlib import Path

import numpy as np
import pytest

from src.evaluation.confusion import confusion_counts, metrics_of
from src.evaluation.thresholds import F1, choose_on_val
from src.report.markup import shown
from src.report.run import write_report
from src.run.files import write_json
from src.run.folder import RunFolder
from src.run.mistakes import write_mistakes
from src.run.predictions import Predictions, read_predictions, write_predictions
from tests.browser import DESKTOP, PHONE, chromium, opened

EVIL = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">&amp;</script></pre>"
LOSSES = {"train/loss": [0.69, 0.5, 0.3, 0.12], "val/loss": [0.66, 0.45, 0.52, 0.6], "val/acc": [0.5, 0.8, 0.79, 0.78]}
COUNT = 25_000  # of test


class Evil:
    """A data module whose every review is an attack."""

    def texts(self, split, rows):
        return [f"{row} {EVIL}" for row in rows], True


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with 25,000 test predictions, and markup in each text that a stranger could have written."""
    folder = RunFolder(tmp_path_factory.mktemp("browser") / "run &lt;b> #1")
    folder.path.mkdir()
    draw = np.random.default_rng(0)
    for split, path, count in (("val", folder.predictions_val, 1500), ("test", folder.predictions_test, COUNT)):
        labels = draw.integers(2, size=count)
        p = 1 / (1 + np.exp(-(2.5 * (2 * labels - 1) + 2.5 * draw.normal(size=count))))
        found = {"rows": np.arange(count), "labels": labels, "probabilities": np.stack([1 - p, p], axis=1)}
        write_predictions(path, **found)
        write_mistakes(folder, split, found, Evil())
    val = load(folder, "val")
    chosen = choose_on_val(F1(), val.labels, val.probabilities)
    write_json(folder.result, {"val/acc": 0.8, "test/acc": 0.79, "epochs": 4, "note": EVIL, **chosen})
    folder.write_config({"seed": 3, "name": EVIL, "data": {"label_names": ["bad", EVIL]}, "optimizer": {"lr": 0.001}})
    folder.write_command(["python", "-m", "src.train", f"name={EVIL}"])
    columns = ["epoch", "step", "train/learning_rate", *LOSSES]
    lines = [
        f"{e},{10 * e + 9},{0.1 / (e + 1)}," + ",".join(str(v[e]) for v in LOSSES.values()) for e in range(4)
    ]  # fmt: skip
    folder.metrics.write_text("\n".join([",".join(columns), *lines, ""]))
    write_json(folder.environment, {"git": {"diff": EVIL}, "data": {"source": EVIL}})
    (folder.path / "samples.txt").write_text(f"== step 10\n{EVIL}\n\n== step 40\n{EVIL}\n\n")
    write_json(folder.status, {"state": "finished", "exit_code": 0, "reason": EVIL})
    write_report(folder.path)
    return folder


def load(folder: RunFolder, split: str) -> Predictions:
    found = read_predictions(folder.predictions_val if split == "val" else folder.predictions_test)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser, run):
    """On a desktop; whatever the test does, no error and no request may come of it."""
    with opened(browser, run.report) as found:
        yield found
        assert found.errors == []
        assert found.requests == []


def cells(page, keys):
    return {key: page.text(f'[data-cell="{key}"]') for key in keys}


def truth(found: Predictions, split: str, threshold: float) -> dict[str, str]:
    counts = confusion_counts(found.labels, found.probabilities[:, 1] >= threshold, num_classes=2)
    table = {f"{split}-{i}{j}": f"{counts[i, j]:,}" for i in (0, 1) for j in (0, 1)}
    return table | {f"{split}-{name}": shown(value) for name, value in metrics_of(counts).items()}


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 0.735, 1.0, "chosen"])
def test_the_threshold_slider_shows_what_numpy_counts(page, run, threshold):
    """Confusion matrix, accuracy, precision, recall and F1 of both splits."""
    chosen = json.loads(run.result.read_text())["threshold"]
    value = chosen if threshold == "chosen" else threshold
    position = int(np.searchsorted(np.union1d(np.arange(201) / 200, [chosen]), value))
    page.slide("threshold", 0)
    page.slide("threshold", position)
    assert float(page.text('[data-cell="threshold-words"]').split(",")[0]) == pytest.approx(value, abs=1e-4)
    for split in ("val", "test"):
        expected = truth(load(run, split), split, value)
        assert cells(page, expected) == expected


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_the_epoch_slider_shows_the_numbers_of_that_epoch(page, epoch):
    """And its line stands at that epoch in every chart of the course."""
    page.slide("epoch", epoch - 1)
    expected = {name: shown(values[epoch - 1]) for name, values in LOSSES.items()}
    assert cells(page, expected) == expected
    assert page.text('[data-cell="epoch-words"]') == f"{epoch} of 4{', the best' if epoch == 2 else ''}"
    marks = page.page.locator('path.cursor[data-slider="epoch"]')
    assert marks.count() == 2
    for at in range(marks.count()):
        left, right, *_ = map(float, marks.nth(at).evaluate("mark => mark.ownerSVGElement.dataset.frame").split(" "))
        x = float(marks.nth(at).get_attribute("d").partition(",")[0][1:])
        assert x == pytest.approx(left + (epoch - 1) / 3 * (right - left), abs=0.1)


def test_the_operating_point_lies_where_the_threshold_puts_it(page, run):
    """At 0.735 on the ROC curve of test: x the false positive rate, y the recall."""
    chosen = json.loads(run.result.read_text())["threshold"]
    page.slide("threshold", int(np.searchsorted(np.union1d(np.arange(201) / 200, [chosen]), 0.735)))
    found = load(run, "test")
    called = found.probabilities[:, 1] >= 0.735
    rates = called[found.labels == 0].mean(), called[found.labels == 1].mean()
    point = page.page.locator('circle.point[data-places="test-roc"]')
    left, right, top, bottom = map(float, point.evaluate("dot => dot.ownerSVGElement.dataset.frame").split(" "))
    x, y = (float(point.get_attribute(name)) for name in ("cx", "cy"))
    assert (x - left) / (right - left) == pytest.approx(rates[0], abs=1e-3)
    assert (bottom - y) / (bottom - top) == pytest.approx(rates[1], abs=1e-3)


def test_costs_are_those_of_the_prices_typed(page, run):
    """A missed positive at 5: the cost here, and the cheapest threshold on val."""
    page.page.locator("[data-price=fp]").fill("2")
    page.page.locator("[data-price=fn]").fill("5")
    chosen = json.loads(run.result.read_text())["threshold"]
    thresholds = np.union1d(np.arange(201) / 200, [chosen])
    page.slide("threshold", 100)
    costs = {}
    for split in ("val", "test"):
        found = load(run, split)
        called = found.probabilities[:, 1][:, None] >= thresholds.astype("f4")
        wrong = 2 * called[found.labels == 0].sum(axis=0) + 5 * (~called[found.labels == 1]).sum(axis=0)
        costs[split] = wrong
        assert page.text(f"[data-cost={split}]") == f"{wrong[100]:,}"
    assert page.text("[data-cost=least]") == f"{costs['val'].min():,}"
    assert float(page.text("[data-cost=at]").split(",")[0]) == pytest.approx(
        thresholds[costs["val"].argmin()], abs=1e-4
    )


def test_the_pointer_reads_the_values_of_a_curve(page):
    """Two thirds along four epochs is epoch 3."""
    chart = page.page.locator("figure.chart svg").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    left, right, *_ = map(float, chart.get_attribute("data-frame").split(" "))
    scale = box["width"] / float(chart.get_attribute("viewBox").split(" ")[2])
    page.page.mouse.move(box["x"] + scale * (left + 0.66 * (right - left)), box["y"] + box["height"] / 2)
    words = page.page.locator(".tip").inner_text()
    for part in ("epoch 3", "train/loss 0.3", "val/loss 0.52"):
        assert part in words
    page.page.mouse.move(2, 2)
    assert page.page.locator(".tip").count() == 0


def test_the_filter_leaves_the_rows_with_all_words(page):
    """Of the configuration, by dotted key and value."""
    page.page.get_by_text("Configuration", exact=True).click()
    page.page.locator("input[data-filter=config]").fill("OPT 0.001")
    assert page.page.locator("#config tr:visible").all_inner_texts() == ["optimizer.lr\t0.0010"]


def test_no_text_of_a_stranger_runs_or_becomes_markup(page):
    """In name, config, command, result, reason, classes, reviews, samples, environment and diff."""
    page.page.locator("summary").evaluate_all("found => found.forEach(summary => (summary.parentElement.open = true))")
    assert page.page.locator("img").count() == 0
    assert page.page.title() == "run &lt;b> #1"
    assert page.page.locator("main").inner_text().count(EVIL) >= 10
    assert page.page.locator(".mistake").count() == 40


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_in_one_direction_only(browser, run, dark):
    """360 pixels wide, in both colours; every table fits or scrolls by itself."""
    with opened(browser, run.report, size=PHONE, dark=dark) as found:
        assert found.page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
        paper = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
        light = sum(map(int, paper.removeprefix("rgb(").removesuffix(")").split(","))) > 3 * 128
        assert light is not dark
        assert (found.errors, found.requests) == ([], [])


def test_without_a_script_the_numbers_of_the_best_epoch_and_the_chosen_threshold_stand_there(browser, run):
    """Only the controls are missing."""
    with opened(browser, run.report, script=False) as found:
        chosen = json.loads(run.result.read_text())["threshold"]
        for split in ("val", "test"):
            expected = truth(load(run, split), split, chosen)
            assert cells(found, expected) == expected
        assert cells(found, ["val/loss", "train/loss"]) == {"val/loss": "0.4500", "train/loss": "0.5000"}
        assert found.page.locator("input:visible").count() == 0
        assert found.page.locator("figure.chart svg:visible").count() == 6
        assert found.errors == []


def test_a_policy_keeps_any_other_script_out(browser, run, tmp_path):
    """Even one that got into the page as markup."""
    text = Path(run.report).read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(
        text.replace("<main>", "<main><script>document.title='run'</script><img src='http://x.invalid/'>")
    )
    with opened(browser, broken, size=DESKTOP) as found:
        assert found.page.title() == "run &lt;b> #1"
        assert any("Content Security Policy" in error for error in found.errors)


def test_the_page_stays_small_with_25_000_predictions(run):
    """The numbers of 202 thresholds, not the predictions, are in it."""
    assert run.report.stat().st_size < 500_000
