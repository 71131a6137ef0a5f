"""Pages in a real browser, which may say nothing, ask nothing and request nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def browsing(file: Path) -> Iterator[Callable[..., Any]]:
    """A function that opens `file` in a fresh Chromium; its options are those of a Playwright context.

    Skips the test where there is no Chromium. At the end no page may have complained or asked for anything but itself.
    """
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    address = file.as_uri()
    complaints: list[str] = []
    requested: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def open_page(**options: Any) -> Any:
            page = browser.new_context(**options).new_page()
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("dialog", lambda dialog: (complaints.append("a dialog"), dialog.dismiss()))
            page.on("request", lambda request: requested.append(request.url))
            page.goto(address)
            return page

        yield open_page
        browser.close()
    assert complaints == []
    assert {url for url in requested if not url.startswith("data:")} == {address}
