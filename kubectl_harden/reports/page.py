"""The one page of ``check -o html`` and ``migrate --report``: what it shows, and how.

It needs no network, and can be read without the script, which filters the page, counts again and copies. Everything
that comes from clusters and files is text (see markup); only names, levels, edited fields and reasons are in it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from kubectl_harden.model import LADDER
from kubectl_harden.reports.markup import Markup, joined, tag
from kubectl_harden.reports.page_charts import causes_table, controls_table, levels_table, overview
from kubectl_harden.reports.page_history import history_sections
from kubectl_harden.reports.page_model import Cell, Page, Part, Reason, Space, Workload
from kubectl_harden.reports.states import STATES
from kubectl_harden.reports.terminal import printable
from kubectl_harden.words import counted

__all__ = ["page_text"]

_FEW: Final = 12
"""A single namespace with at most this many workloads is shown open."""
_MANY: Final = 100
_LEVELS: Final = frozenset(LADDER)
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What the page may load: nothing; only its own script may run, which its digest names."""


class _Edits:
    """Edits that many workloads share are in the page once."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, tuple[str, ...]], list[int]] = {}

    def number(self, lines: str, notes: tuple[str, ...]) -> int:
        """Return the number of these edits, counting whose they are."""
        number = self.found.setdefault((lines, notes), [len(self.found) + 1, 0])
        number[1] += 1
        return number[0]


def page_text(page: Page) -> Iterator[str]:
    """Yield the page in pieces."""
    script, edits = _own("page.js"), _Edits()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"{_POLICY}; script-src 'sha256-{digest}'"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield tag("meta", http_equiv="Content-Security-Policy", content=policy) + "\n"
    yield '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
    yield tag("title", page.title) + f"\n<style>\n{_own('page.css')}</style>\n</head>\n"
    yield f'<body class="{page.command}">\n'
    total = sum(len(space.workloads) for space in page.spaces)
    sub = [page.where, page.made, counted(len(page.spaces), "namespace"), counted(total, "workload")]
    yield tag("header", tag("h1", page.title), tag("p", " · ".join(filter(None, sub)), class_="dim")) + "\n<main>\n"
    if page.summary:
        yield tag("p", page.summary, class_="summary") + "\n"
    yield from _problems(page)
    yield _filters(page) + "\n"
    yield overview(page) + "\n"
    yield history_sections(page) + "\n"
    yield (
        tag(
            "div",
            levels_table(page, "cluster"),
            levels_table(page, "team"),
            controls_table(page),
            causes_table(page),
            class_="two",
        )
        + "\n"
    )
    yield from _spaces(page, edits)
    if page.parts:
        yield '<section id="source"><h2>Changes at the source</h2>\n'
        yield from (_part(part) + "\n" for part in page.parts)
        yield "</section>\n"
    yield from _shared(edits)
    yield tag("footer", f"made by kubectl harden {page.footer}") + "\n</main>\n"
    yield f"<script>{script}</script>\n</body>\n</html>\n"


@cache
def _own(name: str) -> str:
    return files("kubectl_harden.reports").joinpath(name).read_text(encoding="utf-8")


def _problems(page: Page) -> Iterator[str]:
    if page.problems:
        items = [tag("li", words) for words in page.problems]
        head = tag("summary", tag("h2", f"Not checked ({len(items):,})"))
        why = tag("p", "No number on this page includes what is not checked.", class_="dim")
        yield tag("details", head, why, tag("ul", *items), id="problems", open=True) + "\n"


# -- filters ---------------------------------------------------------------------------------------------------


def _filters(page: Page) -> Markup:
    workloads = [item for space in page.spaces for item in space.workloads]
    spaces = page.spaces
    units: list[Space | Workload] = [*spaces, *workloads]
    states = dict.fromkeys(item.state for item in units if item.state)
    found: dict[str, tuple[str, Sequence[str]]] = {
        "state": ("Any state", list(states)),
        "cluster": ("All clusters", sorted({space.cluster for space in spaces if space.cluster})),
        "team": ("Any team", sorted({item.team for item in units if item.team})),
        "level": ("Any level", [level for level in LADDER if any(item.level == level for item in workloads)]),
        "control": ("Any control", sorted({name for item in workloads for name in item.controls})),
        "cause": ("Held back by anything", sorted({name for item in units for name in item.causes})),
    }
    selects = [
        tag("select", tag("option", title, value=""), *(tag("option", word) for word in words),
            id=name, aria_label=title.replace("Any ", "").replace("All ", "").capitalize())
        for name, (title, words) in found.items()
        if words
    ]  # fmt: skip
    search = tag("input", id="q", type="search", placeholder="Namespace, workload, team, control …   ( / )",
                 aria_label="Search", autocomplete="off", spellcheck="false")  # fmt: skip
    reset = tag("button", "Clear", type="reset")
    return tag("form", search, *selects, reset, id="filters", role="search", aria_label="Filters", hidden=True)


# -- namespaces ------------------------------------------------------------------------------------------------


def _spaces(page: Page, edits: _Edits) -> Iterator[str]:
    buttons = [("csv", "CSV"), ("json", "JSON"), ("unfold", "Open all"), ("fold", "Close all")]
    tools = tag("span", *(tag("button", words, type="button", id=name) for name, words in buttons),
                id="tools", hidden=True)  # fmt: skip
    yield tag("div", tag("h2", f"Namespaces ({len(page.spaces):,})", id="h-ns"), tools, class_="head") + "\n"
    if page.hint:
        yield tag("p", "The smallest fix of all of them:", class_="dim") + _command(page.hint) + "\n"
    yield _legend(page) + "\n"
    clusters = dict.fromkeys(space.cluster for space in page.spaces)
    is_open = len(page.spaces) == 1 and len(page.spaces[0].workloads) <= _FEW
    for cluster in clusters:
        members = [space for space in page.spaces if space.cluster == cluster]
        many = " many" if len(members) > _MANY else ""
        yield f'<section class="cluster{many}">\n'
        if cluster or len(clusters) > 1:
            yield tag("h3", cluster or "(no cluster)") + "\n"
        heads = [tag("button", words, type="button") for words in ("Namespace", *page.columns)]
        cells = [tag("span", head, role="columnheader") for head in heads]
        yield tag("div", *cells, class_="heads", role="row") + "\n"
        for space in members:
            yield from _space(page, space, edits, is_open=is_open)
        yield "</section>\n"
    yield tag("p", "Nothing matches the filters.", id="nothing", hidden=True) + "\n"


def _legend(page: Page) -> Markup:
    levels = [tag("li", _level(level), f" {words}") for level, words in (
        ("restricted", "current hardening best practice"), ("baseline", "no known privilege escalations"),
        ("privileged", "unrestricted"))]  # fmt: skip
    states = [
        tag("li", tag("strong", f"{mark} {words}"), f": {_MEANINGS[state]}")
        for state, (mark, _, words) in STATES.items()
        if page.command == "migrate"
    ]
    risks = [
        tag("li", tag("strong", risk), f": {words}") for risk, words in _RISKS.items() if page.command == "migrate"
    ]
    return tag("details", tag("summary", "What the colours and words mean"),
               tag("ul", *levels, *states, *risks, class_="legend"), class_="legend")  # fmt: skip


_RISKS: Final = {
    "safe": "the edit changes nothing that the app can notice",
    "review": "nothing is known about what the app needs: look before you apply",
    "breaks": "according to the evidence, the app stops working",
}
_MEANINGS: Final = {
    "blocked": "something keeps the namespace below the level; it says what",
    "fixable": "patches of its workloads lift it to the level",
    "ready": "everything that runs meets the level, and only labels are missing",
    "done": "the level is enforced and met",
}


def _space(page: Page, space: Space, edits: _Edits, *, is_open: bool) -> Iterator[str]:
    cells = [tag("span", tag("strong", space.name or "(no namespace)"), class_="name", data_k=space.name)]
    cells += [_cell(head, cell) for head, cell in zip(page.columns, space.cells, strict=True)]
    yield (
        f'<details class="ns"{" open" if is_open else ""}'
        + _data(n=space.name, k=space.cluster, l=space.level, a=space.after, t=space.team, s=space.state,
                e=space.enforces, f=space.enforces_after, h=_lines(space.causes), c=_lines(()))
        + ">"
        + tag("summary", *cells)
        + '<div class="in">\n'
    )  # fmt: skip
    for reason in space.reasons:
        yield tag("div", _reason(reason), class_="own", data_h=_lines((reason.cause,) if reason.cause else ())) + "\n"
    for note in space.notes:
        yield tag("p", note) + "\n"
    for command in space.commands:
        yield _command(command) + "\n"
    for item in space.workloads:
        yield from _workload(item, edits)
    yield "</div></details>\n"


def _workload(item: Workload, edits: _Edits) -> Iterator[str]:
    steps = dict.fromkeys(filter(None, (item.before, item.level, item.after)))
    levels = joined([part for level in steps for part in (" → ", _level(level))][1:])
    small = [tag("span", words, class_="chip") for words in (item.risk, item.outcome) if words]
    head = [
        tag("strong", item.name),
        *((Markup(" "), tag("small", item.owner)) if item.owner else ()),
        Markup(" "),
        levels,
    ]
    head += [Markup(" "), *small, tag("span", item.short, class_="short")]
    yield (
        '<details class="w"'
        + _data(n=item.name, l=item.level, a=item.after, t=item.team, s=item.state, c=_lines(item.controls),
                h=_lines(item.causes), r=item.risk, o=item.outcome, b=item.before)
        + ">"
        + tag("summary", *head)
    )  # fmt: skip
    body = []
    if item.text:
        body.append(tag("p", item.text))
    body += map(_reason, item.reasons)
    if item.edits or item.edit_notes:
        number = edits.number(item.edits, item.edit_notes)
        body.append(tag("p", tag("a", item.edits_words, href=f"#edits-{number}", class_="edits")))
    body += map(_command, item.commands)
    if item.notes:
        body.append(tag("ul", *(tag("li", note) for note in item.notes), class_="dim"))
    yield tag("div", *body, class_="in") + "</details>\n"


def _reason(reason: Reason) -> Markup:
    parts: list[str] = [tag("strong", reason.head)] if reason.head else []
    parts += [Markup(" "), reason.what]
    parts += [Markup(" "), tag("span", reason.excused, class_="chip")] if reason.excused else []
    if reason.why:
        parts.append(tag("div", reason.why, class_="dim"))
    if reason.choices:
        parts.append(tag("ul", *(tag("li", choice) for choice in reason.choices)))
    if reason.fields:
        parts.append(tag("div", *(tag("code", field) for field in reason.fields), class_="fields"))
    parts += map(_command, reason.commands)
    return tag("div", *parts, class_="reason")


def _command(command: str) -> Markup:
    return tag("div", tag("code", command), class_="cmd")


def _part(part: Part) -> Markup:
    words = [tag("p", text) for text in part.words]
    return tag("div", tag("h3", part.title), *words, *([_diff(part.diff)] if part.diff else []), class_="part")


def _shared(edits: _Edits) -> Iterator[str]:
    if not edits.found:
        return
    yield '<section id="shared"><h2>Edits</h2>\n'
    for (lines, notes), (number, count) in edits.found.items():
        whose = counted(count, "workload")
        inside = [_diff(lines)] if lines else []
        inside += [tag("ul", *(tag("li", note) for note in notes))] if notes else []
        body = tag("div", *inside, id=f"edits-{number}")
        yield tag("details", tag("summary", f"Edits {number:,} ({whose})"), body) + "\n"
    yield "</section>\n"


def _diff(lines: str) -> Markup:
    kinds = {"+": "add", "-": "del", "@": "at"}
    return tag("pre", *(tag("span", line or " ", class_=kinds.get(line[:1])) for line in lines.split("\n")))


def _cell(head: str, cell: Cell) -> Markup:
    shown: list[str] = [_level(cell.text) if cell.text in _LEVELS else cell.text]
    if cell.after and cell.after != cell.text:
        shown += [" → ", _level(cell.after)]
    key = cell.text if cell.key is None else cell.key
    return tag("span", *shown, data_k=key, data_h=head, class_="n" if isinstance(key, int) and cell.number else None)


def _level(level: str) -> Markup:
    return tag("span", level, class_=f"tag {level if level in _LEVELS else 'none'}")


def _lines(values: Sequence[str]) -> str:
    return "\n".join(map(printable, values))


def _data(**values: str) -> str:
    """Return data attributes, of which the script takes what it shows and counts."""
    shown = tag("i", **{f"data_{key}": value for key, value in values.items() if value})
    return shown.removeprefix("<i").removesuffix("></i>")
