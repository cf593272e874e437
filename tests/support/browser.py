"""A real browser: headless Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")


def _found() -> tuple[str | None, str | None]:
    return next(filter(None, map(shutil.which, NAMES)), None), shutil.which("chromedriver")


def install_browser() -> None:
    """Install Chromium and its driver by Debian's package manager where they are missing and that is possible."""
    if all(_found()):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise RuntimeError("the tests of the report need Chromium and chromedriver: install both")
    sys.stderr.write("installing Chromium (once per machine) …\n")
    packages = ["chromium", "chromium-driver"]
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *command], check=True, stdout=subprocess.DEVNULL)


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
