"""The bars of the page: counts and percentages, which the script counts again as it filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from kubectl_harden.model import LADDER
from kubectl_harden.reports.markup import Markup, joined, tag
from kubectl_harden.reports.page_model import Chart, Page, Space, Workload

__all__ = ["BY_LEVEL", "bar", "causes_table", "controls_table", "levels_table", "overview", "percent", "table_head"]

BY_LEVEL: Final = tuple((level, level, level) for level in reversed(LADDER))
"""The values of a bar of levels, the strictest first."""


def percent(part: int, whole: int) -> str:
    """Return a share, such as ``33 %``: never 100 % where something is missing, nor 0 % of something."""
    if not whole:
        return "–"
    share = int(100 * part / whole + 0.5)
    return f"{min(max(share, 1), 99) if 0 < part < whole else share} %"


def overview(page: Page) -> Markup:
    """Return the bars of all there is."""
    return tag("section", *(_chart(page, chart) for chart in page.charts), id="overview", aria_label="Overview")


def bar(counts: Mapping[str, int], values: Iterable[tuple[str, str, str]], words: str) -> Markup:
    """Return a bar of parts, each as wide as its count; ``words`` are for screen readers."""
    parts = [
        tag("span", class_=style, data_v=value, title=f"{label}: {counts.get(value, 0):,}",
            style=f"flex-grow:{counts.get(value, 0)}", hidden=not counts.get(value))
        for value, style, label in values
    ]  # fmt: skip
    return tag("div", *parts, class_="bar", role="img", aria_label=words)


def _chart(page: Page, chart: Chart) -> Markup:
    units: list[Space | Workload] = list(page.spaces)
    if chart.unit == "w":
        units = [item for space in page.spaces for item in space.workloads]
    names = {"l": "level", "a": "after", "s": "state", "b": "before", "e": "enforces", "f": "enforces_after"}
    counts = Counter(str(getattr(unit, names[chart.field])) for unit in units)
    whole = sum(counts[value] for value, _, _ in chart.values)
    keys, said = [], []
    for value, style, label in chart.values:
        share = percent(counts[value], whole)
        said.append(f"{counts[value]:,} {label}")
        keys.append(
            tag("li", tag("i", class_=style), tag("strong", f"{counts[value]:,}"), f" {label} ", tag("small", share),
                data_v=value, data_w=label, hidden=not counts[value])
        )  # fmt: skip
    drawn = bar(counts, chart.values, f"{chart.title}: {', '.join(said)}")
    return tag("figure", tag("figcaption", chart.title), drawn, tag("ul", *keys, class_="key"),
               class_="chart", data_u=chart.unit, data_d=chart.field)  # fmt: skip


def _link(kind: str, value: str, shown: str) -> Markup:
    from urllib.parse import quote

    return tag("a", shown, href=f"#{kind}={quote(value, safe='')}", data_f=kind, data_v=value)


def table_head(*words: str) -> Markup:
    """Return the head of a table: two columns of words, then numbers."""
    cells = [tag("th", text, scope="col", class_="n" if index > 1 else None) for index, text in enumerate(words)]
    return tag("thead", tag("tr", *cells))


def _table(title: str, name: str, head: Markup, rows: Iterable[Markup], note: str = "") -> Markup:
    body = joined(rows)
    if not body:
        return Markup("")
    more = [tag("p", note, class_="dim")] if note else []
    return tag("section", tag("h2", title), tag("table", head, tag("tbody", body), id=name), *more)


def levels_table(page: Page, kind: Literal["team", "cluster"]) -> Markup:
    """Return the levels of each team's, or each cluster's, workloads; those without a team are the last.

    Nothing where there is no team, and for one cluster.
    """
    counts: dict[str, Counter[str]] = {}
    held: Counter[str] = Counter()
    for space in page.spaces:
        for item in space.workloads:
            key = item.team if kind == "team" else space.cluster
            counts.setdefault(key, Counter())[item.level] += 1
            held[key] += bool(item.causes)
    if not any(counts) or (kind == "cluster" and len(counts) < 2):
        return Markup("")

    def row(key: str, levels: Counter[str]) -> Markup:
        whole = levels.total()
        name = _link(kind, key, key) if key else Markup("<i>none</i>")
        words = ", ".join(f"{levels[level]:,} {level}" for level in reversed(LADDER))
        cells = [tag("td", name), tag("td", bar(levels, BY_LEVEL, words)), tag("td", f"{whole:,}", class_="n")]
        cells += [tag("td", percent(levels["restricted"], whole), class_="n")]
        cells += [tag("td", f"{held[key]:,}", class_="n")] if page.command == "migrate" else []
        return tag("tr", *cells, data_g=key)

    ordered = sorted(counts.items(), key=lambda entry: (not entry[0], entry[0]))
    more = ("Held back",) if page.command == "migrate" else ()
    head = table_head(kind.capitalize(), "Levels met now", "Workloads", "Restricted", *more)
    return _table(f"By {kind}", f"{kind}s", head, (row(*entry) for entry in ordered))


def controls_table(page: Page) -> Markup:
    """Return how many workloads violate each control, and the levels that they meet instead; the most first."""
    controls: dict[str, Counter[str]] = {}
    whole = 0
    for space in page.spaces:
        for item in space.workloads:
            whole += 1
            for name in item.controls:
                controls.setdefault(name, Counter())[item.level] += 1

    def row(name: str, counts: Counter[str]) -> Markup:
        words = ", ".join(f"{counts[level]:,} {level}" for level in LADDER if counts[level])
        drawn = tag("div", bar(counts, BY_LEVEL, words), class_="part", style=f"width:{100 * counts.total() / whole}%")
        cells = [
            tag("td", _link("control", name, name)),
            tag("td", drawn),
            tag("td", f"{counts.total():,}", class_="n"),
        ]
        return tag("tr", *cells, tag("td", percent(counts.total(), whole), class_="n"), data_g=name)

    ordered = sorted(controls.items(), key=lambda entry: (-entry[1].total(), entry[0]))
    head = table_head("Control", "Workloads that violate it", "Workloads", "Of all")
    goal = "Of the level that each namespace is to enforce." if page.command == "migrate" else ""
    return _table("By control", "controls", head, (row(*entry) for entry in ordered), goal)


def causes_table(page: Page) -> Markup:
    """Return what holds namespaces back: of how many objects and namespaces."""
    objects: Counter[str] = Counter()
    spaces: Counter[str] = Counter()
    for space in page.spaces:
        listed = [cause for item in space.workloads for cause in item.causes]
        listed += [reason.cause for reason in space.reasons if reason.cause]
        objects.update(listed)
        spaces.update(set(listed))

    def row(cause: str, count: int) -> Markup:
        cells = [tag("td", _link("cause", cause, cause)), tag("td", f"{count:,}", class_="n")]
        return tag("tr", *cells, tag("td", f"{spaces[cause]:,}", class_="n"), data_g=cause)

    ordered = sorted(objects.items(), key=lambda entry: (-entry[1], entry[0]))
    head = tag("thead", tag("tr", *(tag("th", text, scope="col", class_=kind) for text, kind in (
        ("Held back by", None), ("Objects", "n"), ("Namespaces", "n")))))  # fmt: skip
    return _table("What holds them back", "causes", head, (row(*entry) for entry in ordered))
