"""What wrong answers cost at each threshold, for prices that the reader types."""

import numpy as np

from src.report.markup import escape, shown
from src.report.read import RunFiles
from src.report.slider import Slider, as_data
from src.report.thresholds import SLIDER


def costs(files: RunFiles, slider: Slider, counts: dict[str, np.ndarray], names: list[str]) -> str:
    """Two prices, the cost of each split at the slider's threshold, and the cheapest threshold on val.

    counts: (P, 2, 2) per split. The prices begin as those of the run's threshold=cost, else as 1 and 1.
    """
    prices = [_price(files, "false_positive"), _price(files, "false_negative")]
    wrong = {split: {"fp": found[:, 0, 1], "fn": found[:, 1, 0]} for split, found in counts.items()}
    totals = {split: prices[0] * found["fp"] + prices[1] * found["fn"] for split, found in wrong.items()}
    said = ", ".join(
        f'<output data-cost="{split}">{escape(shown(float(total[slider.start])))}</output> on {split}'
        for split, total in totals.items()
    )
    cheapest = ""
    if "val" in totals:
        at = int(np.argmin(totals["val"]))
        cheapest = (
            f' Cheapest on val: <output data-cost="least">{escape(shown(float(totals["val"][at])))}</output> at '
            f'<output data-cost="at">{escape(slider.words[at])}</output>.'
        )
    numbers = {split: {kind: values.tolist() for kind, values in found.items()} for split, found in wrong.items()}
    inputs = [
        f'<label>A {words} costs <input class="scripted" type="number" data-price="{kind}" min="0" step="any" '
        f'value="{price:g}"><span class="unscripted">{price:g}</span></label>'
        for words, kind, price in (
            (f"false positive ({escape(names[0])} called {escape(names[1])})", "fp", prices[0]),
            (f"false negative ({escape(names[1])} called {escape(names[0])})", "fn", prices[1]),
        )
    ]
    data = f'<script type="application/json" id="data-costs">{as_data(numbers)}</script>'
    return (
        f'<div class="costs" data-for="{SLIDER}"><div class="prices">{"".join(inputs)}</div>'
        f"<p>In all {said}.{cheapest}</p>{data}</div>"
    )


def _price(files: RunFiles, name: str) -> float:
    rule = files.config.get("threshold")
    value = rule.get(name) if isinstance(rule, dict) else None
    return float(value) if isinstance(value, int | float) else 1.0
