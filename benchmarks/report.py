"""How long the report of 400 namespaces and 10,000 workloads takes to open and to scroll, in Chromium.

    make bench-report

The survey is made up of real plans; the page is opened several times from a file, and each time scrolled by 300
pixels a frame. Printed is how long it takes until something is drawn, until all can be used,
and how long frames take.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kubectl_harden.migration.model import Aim
from kubectl_harden.reports.page_model import About
from kubectl_harden.reports.report import report_page
from tests.support.browser import browser
from tests.support.surveys import survey

OPENED = """
const done = arguments[0];
requestAnimationFrame(() => setTimeout(() => done(performance.now())));
"""
DRAWN = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
SCROLLED = """
const done = arguments[0], frames = [];
let last;
function step(now) {
  if (last) frames.push(now - last);
  last = now;
  scrollBy(0, 300);
  if (frames.length < 200) requestAnimationFrame(step); else done(frames);
}
requestAnimationFrame(step);
"""


def main() -> None:
    """Run and print a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--namespaces", type=int, default=400)
    parser.add_argument("--workloads", type=int, default=25, help="in each namespace")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    total = arguments.namespaces * arguments.workloads
    found = survey(arguments.namespaces, arguments.workloads)
    page = report_page(found, Aim("restricted", detailed=True), [], about=About("production", "2026-11-28T21:15:00Z"))
    opened: list[float] = []
    drawn: list[float] = []
    frames: list[float] = []
    with tempfile.TemporaryDirectory() as directory, browser() as chromium:
        path = Path(directory) / "report.html"
        path.write_text(page)
        chromium.set_script_timeout(120)
        for _ in range(arguments.rounds):
            chromium.get(f"file://{path}")
            opened.append(chromium.execute_async_script(OPENED))
            drawn.append(chromium.execute_script(DRAWN))
            frames.extend(chromium.execute_async_script(SCROLLED))
    print(f"{total:,} workloads in {arguments.namespaces} namespaces, {len(page) / 1e6:.1f} MB\n")
    print("| | median |\n| --- | ---: |")
    print(f"| open, until something is drawn | {statistics.median(drawn):.0f} ms |")
    print(f"| open, until it can be used | {statistics.median(opened):.0f} ms |")
    print(f"| a frame while scrolling | {statistics.median(frames):.0f} ms |")
    print(f"| the slowest of 100 frames | {statistics.quantiles(frames, n=100)[98]:.0f} ms |")


if __name__ == "__main__":
    main()
