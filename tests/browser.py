"""Pages in a real browser, where there is one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


def open_browser() -> Iterator[Any]:
    """For a fixture: the browser, closed at the end."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, the extra `browser`")
    if BROWSER is None:
        pytest.skip("needs a chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@contextmanager
def opened_page(browser: Any, file: Path, width: int, scheme: str = "light") -> Iterator[Any]:
    """A page of the disk; fails where it complains, or asks the network for anything."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on(
        "request", lambda request: request.url.startswith(("file:", "data:")) or trouble.append(request.url)
    )
    page.goto(file.as_uri())
    yield page
    assert trouble == []
    page.close()
