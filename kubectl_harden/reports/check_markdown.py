"""The report of ``check`` in Markdown: for the summary of a job, a pull request or a ticket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kubectl_harden.model import Checked
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.reports.markdown import markdown_code, markdown_text
from kubectl_harden.reports.statistics import Statistics
from kubectl_harden.reports.tally import Report, summary_line
from kubectl_harden.reports.terminal import error_line, object_name, place

__all__ = ["markdown"]

_MOST: Final = 300
"""At most this many workloads are listed: the summary of a job on GitHub has room for 1 MiB."""


def markdown(report: Report) -> Iterator[str]:
    """Yield the summary, the workloads below the level with what each violates, and counts by control and namespace."""
    counts = Statistics()
    rows: list[str] = []
    below = 0
    for checked in report.results:
        counts.add(checked)
        if left(checked.violations):
            below += 1
            if below <= _MOST:
                rows.append(_row(checked))
    tally = report.tally
    bad = tally.violating or tally.refused or tally.problems
    mark = "✗" if bad else "–" if tally.left_out or not tally.workloads else "✓"
    yield f"## {mark} Pod Security\n\n{markdown_text(summary_line(tally))}.\n"
    if tally.problems:
        yield "\n### Not checked\n\n"
        yield "".join(f"- {markdown_text(error_line(problem))}\n" for problem in tally.problems)
    if rows:
        yield "\n| Workload | Level | Violations |\n| --- | --- | --- |\n"
        yield from rows
        if below > _MOST:
            yield f"\nand {below - _MOST:,} more.\n"
    if below > 1:
        yield from _table("Control", ("Workloads", "Violations"), counts.controls())
        namespaces = list(counts.namespaces())
        if len(namespaces) > 1:
            heads = ("Workloads", "Below", "Privileged", "Baseline", "Restricted")
            yield from _table("Namespace", heads, iter(namespaces))


def _row(checked: Checked) -> str:
    where = place(checked.identity.source)
    name = f"`{markdown_code(object_name(checked.identity))}`" + (f"<br>{markdown_text(where)}" if where else "")
    words = "<br>".join(
        f"`{one.check}` {markdown_text(one.reason)}" + (f": {markdown_text(one.detail)}" if one.detail else "")
        for one in left(checked.violations)
    )
    return f"| {name} | {checked.level} | {words} |\n"


def _table(name: str, heads: tuple[str, ...], rows: Iterator[tuple[str, tuple[int, ...]]]) -> Iterator[str]:
    yield f"\n| {name} | {' | '.join(heads)} |\n| --- |{' ---: |' * len(heads)}\n"
    for key, numbers in rows:
        yield f"| {markdown_text(key)} | {' | '.join(f'{number:,}' for number in numbers)} |\n"
