"""One self-contained page: style and script inside, no link and no network, a policy against anything else."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from src.report.markup import contents, escape

_HERE = Path(__file__).parent


def page(title: str, sections: Sequence[str], *, header: str = "") -> str:
    """The page as text. sections: markup, empty ones are left out. header: in place of the title alone.

    Even if a text slipped through unescaped, a browser would neither run nor load anything: only the script of this
    room is allowed, by its hash.
    """
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    script = "\n" + (_HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    top = header or f"<header><h1>{escape(title)}</h1></header>"
    body = "\n".join(part for part in (top, contents(sections), *sections) if part)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""
