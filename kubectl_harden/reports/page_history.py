"""Earlier runs on the page: levels by date, by team, and what changed since the last run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from kubectl_harden.reports.history import Change, Run, Summary, changes, summary_of
from kubectl_harden.reports.markup import Markup, joined, tag
from kubectl_harden.reports.page_charts import BY_LEVEL, bar, percent, table_head
from kubectl_harden.reports.page_model import Page
from kubectl_harden.words import counted

__all__ = ["history_sections"]

_SHOWN: Final = 30
"""At most this many runs are drawn: of more, some spread evenly between the first and the last."""
_NAMED: Final = 200
_FEW: Final = 12
"""Up to this many changes are shown open, and this many more are named."""
_WORDS: Final = {
    "worse": "meet a lower level",
    "better": "meet a higher level",
    "new": "are new",
    "gone": "no longer exist",
}
_ONE: Final = {
    "worse": "meets a lower level",
    "better": "meets a higher level",
    "new": "is new",
    "gone": "no longer exists",
}


def history_sections(page: Page) -> Markup:
    """Return what changed since the last run, and the progress over all; nothing where no history was asked for."""
    history = page.history
    if history is None or history.now is None:
        return Markup("")
    if history.last is None:
        words = f"This is the first run that is kept in {history.directory}: the next one is compared with it."
        return tag("section", tag("h2", "Progress"), tag("p", words, class_="dim"), id="progress")
    runs = _thinned((*history.runs, summary_of(history.now)))
    return tag("div", _progress(runs, len(history.runs) + 1), _since(history.last, history.now), class_="two")


def _thinned(runs: Sequence[Summary]) -> list[Summary]:
    if len(runs) <= _SHOWN:
        return list(runs)
    last = len(runs) - 1
    return [runs[round(index * last / (_SHOWN - 1))] for index in range(_SHOWN)]


def _date(run: Run | Summary) -> str:
    return run.made[:16].replace("T", " ")


# -- what changed ----------------------------------------------------------------------------------------------


def _since(before: Run, now: Run) -> Markup:
    title = tag("h2", f"Since the last run ({_date(before)} UTC)")
    found = sorted(changes(before, now), key=lambda change: list(_WORDS).index(change.kind))
    notes = []
    if before.problems or now.problems:
        which = "this run" if now.problems else "that run"
        many = counted(now.problems or before.problems, "thing")
        notes.append(tag("p", f"{which.capitalize()} could not read {many}: what is missing may still exist.",
                         class_="dim"))  # fmt: skip
    blocks = [_changed(kind, list(members)) for kind, members in groupby(found, key=lambda change: change.kind)]
    blocks += _enforced(before, now)
    if not blocks:
        blocks = [tag("p", "No workload meets a different level now.", class_="dim")]
    return tag("section", title, *notes, *blocks, id="changes")


def _changed(kind: str, found: list[Change]) -> Markup:
    head = f"{counted(len(found), 'workload')} {(_ONE if len(found) == 1 else _WORDS)[kind]}"
    items = [
        tag("li", _named(change), *_levels(change.before, change.after))
        for change in found[:_NAMED]
    ]  # fmt: skip
    if len(found) > _NAMED:
        items.append(tag("li", f"and {len(found) - _NAMED:,} more"))
    shown = tag("summary", tag("strong", head))
    return tag(
        "details",
        shown,
        tag("ul", *items),
        class_=f"change {kind}",
        open=len(found) <= _FEW and kind in ("worse", "better"),
    )


def _named(change: Change) -> str:
    cluster, namespace, name = change.key
    return " / ".join(filter(None, (cluster, namespace, name))) + " "


def _levels(before: str, after: str) -> list[str]:
    shown: list[str] = [
        tag("span", level, class_=f"tag {level}") for level in (before, after) if level and level != "–"
    ]
    return shown if len(shown) < 2 else [shown[0], " → ", shown[1]]


def _enforced(before: Run, now: Run) -> list[Markup]:
    """Return the namespaces that enforce a different level now."""
    both = [key for key in sorted(now.enforced) if key in before.enforced and now.enforced[key] != before.enforced[key]]
    if not both:
        return []
    items = [
        tag("li", " / ".join(filter(None, key)), f": {before.enforced[key]} → ", tag("strong", now.enforced[key]))
        for key in both[:_NAMED]
    ]
    if len(both) > _NAMED:
        items.append(tag("li", f"and {len(both) - _NAMED:,} more"))
    verb = "enforces" if len(both) == 1 else "enforce"
    head = tag("summary", tag("strong", f"{counted(len(both), 'namespace')} {verb} a different level"))
    return [tag("details", head, tag("ul", *items), class_="change enforced", open=True)]


# -- progress ----------------------------------------------------------------------------------------------------


def _progress(runs: Sequence[Summary], total: int) -> Markup:
    teams = sorted({team for run in runs for team in run.levels if team})
    words = counted(total, "run") + (f", of which {len(runs)} are drawn" if len(runs) < total else "")
    parts = [tag("h2", "Progress"), tag("p", f"Workloads by the level that they meet; {words}.", class_="dim")]
    parts.append(_columns(runs, None, "all workloads"))
    if teams:
        rows = [
            tag("tr", tag("td", team), tag("td", _columns(runs, team, team)), *_shares(runs, team), data_g=team)
            for team in teams
        ]
        heads = ("Team", "Levels by date", "Restricted then", "Now")
        head = table_head(*heads)
        parts.append(tag("details", tag("summary", "Each team"), tag("table", head, tag("tbody", *rows), id="by-team")))
    parts.append(tag("details", tag("summary", "As a table"), _numbers(runs)))
    return tag("section", *parts, id="progress")


def _counts(run: Summary, team: str | None) -> Counter[str]:
    if team is not None:
        return run.levels.get(team, Counter())
    return sum(run.levels.values(), Counter())


def _columns(runs: Sequence[Summary], team: str | None, of: str) -> Markup:
    """Return a column for each run, as high as the most workloads are."""
    counts = [_counts(run, team) for run in runs]
    most = max((one.total() for one in counts), default=0) or 1
    columns = []
    for run, one in zip(runs, counts, strict=True):
        words = ", ".join(f"{one[value]:,} {label}" for value, _, label in BY_LEVEL)
        drawn = tag("div", *_pieces(one), class_="pile", style=f"height:{100 * one.total() / most:.2f}%")
        marked = " (not all could be read)" if run.problems else ""
        columns.append(tag("div", drawn, class_="column" + (" part" if marked else ""),
                           title=f"{_date(run)}: {words}{marked}"))  # fmt: skip
    said = f"Levels of {of} from {_date(runs[0])} to {_date(runs[-1])}"
    drawn = tag("div", *columns, class_="columns", role="img", aria_label=said)
    ends = tag("div", tag("span", runs[0].made[:10]), tag("span", runs[-1].made[:10]), class_="ends dim")
    return drawn if team is not None else joined((drawn, ends))


def _pieces(counts: Counter[str]) -> Iterable[Markup]:
    return (
        tag("span", class_=style, style=f"flex-grow:{counts[value]}") for value, style, _ in BY_LEVEL if counts[value]
    )


def _shares(runs: Sequence[Summary], team: str) -> tuple[Markup, Markup]:
    first, now = _counts(runs[0], team), _counts(runs[-1], team)
    shares = (percent(one["restricted"], one.total()) for one in (first, now))
    then, today = (tag("td", share, class_="n") for share in shares)
    return then, today


def _numbers(runs: Sequence[Summary]) -> Markup:
    rows = []
    for run in reversed(runs):
        one = _counts(run, None)
        note = f" {counted(run.problems, 'problem')}" if run.problems else ""
        cells = [tag("td", _date(run), tag("small", note)), tag("td", bar(one, BY_LEVEL, ""))]
        cells += [tag("td", f"{one[value]:,}", class_="n") for value, _, _ in BY_LEVEL]
        rows.append(tag("tr", *cells, tag("td", percent(one["restricted"], one.total()), class_="n")))
    heads = ("Run (UTC)", "Levels", "Restricted", "Baseline", "Privileged", "Share")
    return tag("table", table_head(*heads), tag("tbody", *rows))
