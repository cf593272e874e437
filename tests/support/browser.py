"""A real browser: headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.debian import install

NAMES = ("chromium", "chromium-browser", "google-chrome")


def _found() -> tuple[str | None, str | None]:
    return next(filter(None, map(shutil.which, NAMES)), None), shutil.which("chromedriver")


def install_browser() -> None:
    """Install Chromium and its driver where they are missing."""
    if not all(_found()):
        install({"chromium": "chromium", "chromedriver": "chromium-driver"})


@contextmanager
def browser(*arguments: str) -> Iterator[Any]:
    """Open a headless browser that keeps its console's messages."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    program, driver = _found()
    options = ChromeOptions()
    options.binary_location = program or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = Chrome(options=options, service=ChromeService(driver))
    try:
        running.set_window_size(1200, 900)
        yield running
    finally:
        running.quit()
