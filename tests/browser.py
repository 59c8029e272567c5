"""A page in Debian's Chromium, as a reader sees it: with size, colours and script as asked; nothing is downloaded."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESKTOP, PHONE = (1200, 900), (360, 740)


@dataclass
class Opened:
    """A page and what went wrong on it: errors (script, policy, console) and requests other than its own file."""

    page: "Page"
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        """What stands in the first element."""
        return self.page.locator(selector).first.inner_text()

    def slide(self, name: str, position: int) -> None:
        """Move a slider as a hand would, by its value and an event."""
        self.page.locator(f"#slider-{name}").evaluate(
            "(input, at) => { input.value = at; input.dispatchEvent(new Event('input')); }", position
        )


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A browser for several pages; skips the test where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium here: tests/install_chromium.sh")
    with sync_api.sync_playwright() as play:
        # Root has no sandbox in a container; the pages are our own.
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: "Browser", path: Path, *, size: tuple[int, int] = DESKTOP, dark: bool = False, script: bool = True
) -> Iterator[Opened]:
    """The page of a file; a second use of the browser shares nothing with the first."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
        reduced_motion="reduce",
    )
    found = Opened(context.new_page())
    address = path.resolve().as_uri()
    found.page.on("pageerror", lambda error: found.errors.append(str(error)))
    found.page.on("console", lambda message: found.errors.append(message.text) if message.type == "error" else None)
    found.page.on("request", lambda request: found.requests.append(request.url) if request.url != address else None)
    found.page.on("requestfailed", lambda request: found.errors.append(f"failed: {request.url}"))
    try:
        found.page.goto(address)
        yield found
    finally:
        context.close()
