"""HTML by small functions; every text from a file passes `escape` here, and nowhere else."""

import html
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

# The words for metrics whose names are short.
METRICS = {
    "acc": "accuracy",
    "auroc": "ROC area",
    "bits_per_byte": "bits per byte",
    "f1": "F1",
    "ppl": "perplexity",
}


def escape(value: Any) -> str:
    """A value as text that no browser takes for markup, without control characters but line breaks and tabs."""
    text = "".join(letter for letter in str(value) if letter in "\n\t" or ord(letter) >= 32)
    return html.escape(text, quote=True)


def href(path: Path, place: Path) -> str:
    """The way to a file from the folder `place`, as a link has it."""
    return escape(quote(os.fsencode(os.path.relpath(path, place))))  # a folder's name may be no UTF-8


def shown(value: Any) -> str:
    """A value for people: 4 decimals below 100, thousands apart, a dash for None."""
    if value is None:
        return "–"  # noqa: RUF001
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float) and math.isfinite(value):
        if value.is_integer() and abs(value) >= 100:
            return f"{int(value):,}"
        if value and abs(value) < 1e-3:
            return f"{value:.2e}"
        return f"{value:,.4f}" if abs(value) < 100 else f"{value:,.1f}"
    return str(value)


def section(title: str, *parts: str) -> str:
    """A titled part of the page, to which `contents` links; nothing if it would be empty."""
    body = "\n".join(part for part in parts if part)
    name = "-".join(re.findall(r"[a-z0-9]+", title.lower()))
    return f'<section id="{name}">\n<h2>{escape(title)}</h2>\n{body}\n</section>' if body else ""


def contents(sections: Iterable[str]) -> str:
    """Links to sections made by `section`; nothing if there is but one."""
    found = [match for text in sections if (match := re.match(r'<section id="(.+)">\n<h2>(.*)</h2>', text))]
    links = "".join(f'<a href="#{match[1]}">{match[2]}</a>' for match in found)
    return f"<nav>{links}</nav>" if len(found) > 1 else ""


def table(
    head: Sequence[Any], rows: Iterable[Sequence[Any]], *, caption: str = "", kind: str = "", name: str = ""
) -> str:
    """A table whose first column holds the names of the rows; nothing if there are no rows.

    kind: `numbers` sets the cells flush right. name: its id, for a filter. A cell that is Markup stands as it is.
    """
    lines = [f'<tr><th scope="row">{_cell(name)}</th>{"".join(map(_data, cells))}</tr>' for name, *cells in rows]
    if not lines:
        return ""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    header = f"<thead><tr>{heads}</tr></thead>" if head else ""
    named = (f' class="{kind}"' if kind else "") + (f' id="{name}"' if name else "")
    return f'<div class="wide"><table{named}>{title}{header}<tbody>{"".join(lines)}</tbody></table></div>'


class Markup(str):
    """Text that is markup already, made by the functions of this room."""


def _cell(value: Any) -> str:
    return str(value) if isinstance(value, Markup) else escape(shown(value))


def _data(value: Any) -> str:
    return f"<td>{_cell(value)}</td>"


def tiles(*found: tuple[str, Any, str]) -> str:
    """The few numbers to see first: (name, value, kind), kind train, val or test for the colour; None is left out."""
    made = [
        f'<div class="tile {kind}"><b>{escape(shown(value))}</b><span>{escape(name)}</span></div>'
        for name, value, kind in found
        if value is not None
    ]
    return f'<div class="tiles">{"".join(made)}</div>' if made else ""


def badge(words: str, *, kind: str = "") -> str:
    """A word on a coloured ground; kind good, warn or bad."""
    return f'<span class="badge {kind}">{escape(words)}</span>'


def paragraph(text: str, *, kind: str = "") -> str:
    """A sentence or two."""
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</p>"


def preformatted(text: str) -> str:
    """Text as it stands in its file; nothing if it is empty."""
    return f"<pre>{escape(text.rstrip())}</pre>" if text.strip() else ""


def folded(title: str, body: str) -> str:
    """A part that opens on a tap, without a script."""
    return f"<details><summary>{escape(title)}</summary>\n{body}\n</details>" if body else ""


def grid(*parts: str, kind: str = "") -> str:
    """Parts side by side where there is room, below each other on a phone; two, or with kind `three` three."""
    inside = "\n".join(part for part in parts if part)
    return f'<div class="grid {kind}">\n{inside}\n</div>' if inside else ""
