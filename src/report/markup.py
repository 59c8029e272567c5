"""HTML by small functions; every text from a file passes `escape` here, and nowhere else."""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any


def escape(value: Any) -> str:
    """A value as text that no browser takes for markup, without control characters but line breaks and tabs."""
    text = "".join(letter for letter in str(value) if letter in "\n\t" or ord(letter) >= 32)
    return html.escape(text, quote=True)


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
    """A titled part of the page; nothing if it would be empty."""
    body = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>" if body else ""


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], *, caption: str = "") -> str:
    """A table whose first column holds the names of the rows; nothing if there are no rows."""
    lines = [
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(shown(cell))}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    ]
    if not lines:
        return ""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    header = f"<thead><tr>{heads}</tr></thead>" if head else ""
    return f'<div class="wide"><table>{title}{header}<tbody>{"".join(lines)}</tbody></table></div>'


def paragraph(text: str, *, kind: str = "") -> str:
    """A sentence or two."""
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</p>"


def preformatted(text: str) -> str:
    """Text as it stands in its file; nothing if it is empty."""
    return f"<pre>{escape(text.rstrip())}</pre>" if text.strip() else ""


def folded(title: str, body: str) -> str:
    """A part that opens on a tap, without a script."""
    return f"<details><summary>{escape(title)}</summary>\n{body}\n</details>" if body else ""


def grid(*parts: str) -> str:
    """Parts side by side where there is room, below each other on a phone."""
    inside = "\n".join(part for part in parts if part)
    return f'<div class="grid">\n{inside}\n</div>' if inside else ""
