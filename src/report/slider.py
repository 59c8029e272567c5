"""A slider that looks numbers up: each position's texts, shares and places are computed here, the script only shows
the column of the position that it stands at."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from src.report.markup import escape

Place = tuple[float, float] | tuple[float]  # of a point, of a vertical line


@dataclass(frozen=True, kw_only=True)
class Slider:
    """name: unique on its page. words: what each position is called, (P,). start: the position of the page as written.

    cells: texts (P,) of the elements with that `data-cell`; shares: 0 to 1 (P,), their depth of colour; places: (x,)
    or (x, y) per position, (P,), of the chart marks that name them (chart.Mover). stops: positions worth a button.
    """

    name: str
    label: str
    words: Sequence[str]
    start: int
    cells: Mapping[str, Sequence[str]] = field(default_factory=dict)
    shares: Mapping[str, Sequence[float]] = field(default_factory=dict)
    places: Mapping[str, Sequence[Place]] = field(default_factory=dict)
    stops: Mapping[str, int] = field(default_factory=dict)

    def drawn(self) -> str:
        """The control; without a script only the words of the position that the page shows."""
        name, last = escape(self.name), len(self.words) - 1
        buttons = "".join(
            f'<button type="button" data-for="{name}" data-to="{position}">{escape(words)}</button>'
            for words, position in self.stops.items()
        )
        return (
            f'<div class="slider"><label for="slider-{name}">{escape(self.label)} '
            f'<output data-cell="{name}-words" for="slider-{name}">{escape(self.words[self.start])}</output></label>\n'
            f'<input class="scripted" type="range" id="slider-{name}" data-slider-name="{name}" min="0" max="{last}" '
            f'step="1" value="{self.start}" aria-valuetext="{escape(self.words[self.start])}">\n'
            f'<span class="scripted stops">{buttons}</span>\n'
            f'<script type="application/json" id="data-{name}">{as_data(self._data())}</script></div>'
        )

    def cell(self, key: str) -> str:
        """An element that shows a text of `cells`, beginning with that of the start."""
        style = f' style="--share:{self.shares[key][self.start]:.3f}"' if key in self.shares else ""
        return f'<output data-cell="{escape(key)}"{style}>{escape(self.cells[key][self.start])}</output>'

    def _data(self) -> dict[str, object]:
        return {
            "words": list(self.words),
            "cells": {key: list(texts) for key, texts in self.cells.items()},
            "shares": {key: [_short(share) for share in shares] for key, shares in self.shares.items()},
            "places": {key: [[_short(x) for x in place] for place in places] for key, places in self.places.items()},
        }


def as_data(value: object) -> str:
    """JSON for a script element of a data type: nothing in it can close the element or open a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _short(value: float) -> float | None:
    return round(float(value), 5) if math.isfinite(value) else None
