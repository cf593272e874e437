"""The report of ``check`` as the page: workloads by namespace, with their violations, fields and evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kubectl_harden.cluster.command import Commands
from kubectl_harden.field_path import pointer
from kubectl_harden.model import LADDER, Checked, LiveSource, Source, Violation
from kubectl_harden.objects import api_group
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.pod_security.policy import worded
from kubectl_harden.reports.check import known_words
from kubectl_harden.reports.goals import sourced
from kubectl_harden.reports.history import Key, Run, Seen
from kubectl_harden.reports.origin import origin_words
from kubectl_harden.reports.page import page_text
from kubectl_harden.reports.page_charts import BY_LEVEL
from kubectl_harden.reports.page_model import About, Cell, Chart, Page, Reason, Space, Workload
from kubectl_harden.reports.tally import Report, left_out_words, summary_line
from kubectl_harden.reports.terminal import error_line, place, template_of

__all__ = ["html", "run_of"]

_BELOW, _MEETS, _PART = "below its level", "meets its level", "not looked at in full"
_STATES = (
    (_MEETS, "met", "at their level or above"),
    (_BELOW, "below", "below their level"),
    (_PART, "unknown", "not looked at in full"),
)
_COLUMNS = ("Held to", "Meets", "Below", "Workloads", "Controls")


def html(report: Report) -> Iterator[str]:
    """Yield the page: the namespaces with most below their level first."""
    found = list(report.results)
    about = report.tally.about or About()
    history = about.history
    if history is not None:
        now = run_of(found, about, len(report.tally.problems))
        history = history._replace(now=now)
        report.tally.about = about._replace(history=history)
    spaces: dict[tuple[str, str], list[Checked]] = {}
    for item in found:
        spaces.setdefault((item.identity.cluster, item.identity.namespace or ""), []).append(item)
    made = [_space(*key, members, about) for key, members in spaces.items()]
    made.sort(key=lambda space: (space.cluster, -sum(item.state == _BELOW for item in space.workloads), space.name))
    yield from page_text(
        Page(
            "check",
            "Pod Security: what admission would say",
            tuple(made),
            _COLUMNS,
            (
                Chart("Workloads by the level that they meet", "w", "l", BY_LEVEL),
                Chart("Workloads by what they are held to", "w", "s", _STATES),
            ),
            about.where,
            about.made[:16].replace("T", " ") + " UTC" if about.made else "",
            summary_line(report.tally),
            about.fix if report.tally.violating else "",
            "check -o html",
            tuple(error_line(problem) for problem in report.tally.problems),
            history=history,
        )
    )  # fmt: skip


def run_of(found: Sequence[Checked], about: About, problems: int) -> Run:
    """Return what the history keeps of a run: a workload with several pod templates has the lowest of their levels."""
    workloads: dict[Key, Seen] = {}
    for item in found:
        identity = item.identity
        # The same object may be in many files, as in overlays.
        file = f" ({identity.source.file})" if isinstance(identity.source, Source) else ""
        key = (identity.cluster, identity.namespace or "", f"{identity.kind} {identity.name}{file}")
        lowest = min((item.level, *(seen.level for seen in (workloads.get(key),) if seen)), key=_rank)
        workloads[key] = Seen(lowest, dict(item.labels).get(about.team_label, ""))
    scope = about.history.scope if about.history is not None else ""
    return Run(about.made, scope, workloads, {}, problems)


def _rank(level: str) -> int:
    ladder: tuple[str, ...] = LADDER
    return ladder.index(level)


def _space(cluster: str, name: str, found: Sequence[Checked], about: About) -> Space:
    ordered = sorted(found, key=lambda item: not _is_below(item))
    policies = list(dict.fromkeys(str(item.policy) for item in found))
    lowest = min((item.level for item in found), key=_rank)
    below = sum(map(_is_below, found))
    controls = dict.fromkeys(violation.check for item in ordered for violation in left(item.violations))
    cells = (
        Cell(", ".join(policies)),
        Cell(lowest, _rank(lowest)),
        Cell(f"{below:,}" if below else "–", below, number=True),
        Cell(f"{len(found):,}", len(found), number=True),
        Cell(", ".join(controls) or "–", len(controls)),
    )
    commands = about.commands.get(cluster, Commands(("--context", cluster) if cluster else ()))
    workloads = tuple(_workload(item, about, commands) for item in ordered)
    live = isinstance(found[0].identity.source, LiveSource)
    fix = (commands.harden("fix", namespace=name),) if live and below and name else ()
    return Space(name, cells, workloads, cluster, lowest, lowest, commands=fix)


def _is_below(item: Checked) -> bool:
    return bool(left(item.violations) or item.pods_refused)


def _workload(item: Checked, about: About, commands: Commands) -> Workload:
    identity = item.identity
    counts = left(item.violations)
    below = _is_below(item)
    controls = tuple(dict.fromkeys(violation.check for violation in item.violations))
    excused = len(item.violations) - len(counts)
    short = ", ".join(dict.fromkeys(violation.check for violation in counts))
    if not counts:
        short = "its pods are refused" if item.pods_refused else "accepted" if excused else ""
    held = sourced(item.policy)
    notes = [f"From {origin_words(item.origin)}"] if item.origin else []
    notes += dict.fromkeys(f"{known_words(fact)} ({fact.origin})" for fact in item.facts)
    said = [f"Not {held}." if counts else f"Held to {held}."]
    said += [f"{left_out_words(item.left_out)}."] if item.left_out else []
    said += [f"The API server refuses its pods: {item.pods_refused}"] if item.pods_refused else []
    return Workload(
        f"{identity.kind} {identity.name or '(no name)'}{template_of(identity)}",
        item.level,
        item.level,
        _BELOW if below else _PART if item.left_out else _MEETS,
        team=dict(item.labels).get(about.team_label, ""),
        owner=place(identity.source),
        short=short,
        text=" ".join([*said, *([f"→ {item.advice}"] if item.advice else [])]),
        controls=controls,
        reasons=tuple(_reason(item, violation) for violation in item.violations),
        commands=_fix(item, commands) if counts and not item.advice else (),
        notes=tuple(notes),
    )


def _fix(item: Checked, commands: Commands) -> tuple[str, ...]:
    """Return the command that shows the smallest fix of a live workload."""
    identity = item.identity
    if not isinstance(identity.source, LiveSource):
        return ()
    group = api_group(identity.api_version)
    suffix = "" if group in ("", "apps", "batch") else f".{group}"
    kind = f"{identity.kind.lower()}{suffix}"
    return (commands.harden("fix", f"{kind}/{identity.name}", namespace=identity.namespace or ""),)


def _reason(item: Checked, violation: Violation) -> Reason:
    source = item.identity.source
    fields = [place(source, violation.line)] if isinstance(source, Source) and violation.line else []
    fields += [pointer(path) for path in violation.paths]
    excused = f"accepted: {violation.accepted}" if violation.accepted else ""
    if violation.known:
        excused = "known from the baseline file"
    words = worded(violation.reason, violation.detail)
    return Reason(violation.check, words, fields=tuple(fields), excused=excused)
