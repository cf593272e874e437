"""The report of ``check`` for people: what is below the level, everything in detail, or only names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from kubectl_harden.field_path import pointer
from kubectl_harden.model import Before, Checked, Fact, LiveSource, Source, Violation
from kubectl_harden.objects import api_group
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.pod_security.policy import worded
from kubectl_harden.reports.goals import sourced
from kubectl_harden.reports.statistics import Alike, Statistics
from kubectl_harden.reports.tally import Report, left_out_words
from kubectl_harden.reports.terminal import level_text, object_name, paint, place, printable, template_of, wrapped
from kubectl_harden.words import counted

__all__ = ["concise", "known_words", "name", "text", "wide"]


_SCREENFUL: Final = 20
"""Up to this many workloads are listed one by one."""


def text(report: Report) -> Iterator[str]:
    """Yield a paragraph for each workload below the level; for many workloads, one for those with the same violations.

    For many, the counts come as well, and first for a cluster, where there are no lines of files to find.
    """
    columns, counts, many = report.columns, Statistics(), Alike()
    few: list[Checked] = []
    apart: list[str] = []
    live = is_many = False
    for checked in report.results:
        counts.add(checked)
        if all(violation.known for violation in checked.violations):
            continue
        few.append(checked)
        is_many = is_many or len(few) > _SCREENFUL
        live = live or isinstance(checked.identity.source, LiveSource)
        if is_many:
            apart += ["".join(_described(one, columns)) for one in few if not many.add(one)]
            few.clear()
    told = counts.lines() if is_many or report.statistics else ()
    if live:
        yield from told
    yield from ("".join(_described(checked, columns)) for checked in few)
    yield from many.lines(columns=columns)
    yield from apart
    if is_many:
        yield "Each violation in a line: -o concise\n\n"
    if not live:
        yield from told


def _described(checked: Checked, columns: int) -> Iterator[str]:
    source = checked.identity.source
    yield _heading(checked)
    for violation in checked.violations:
        if violation.known:
            continue
        where = place(source, violation.line) + "  " if isinstance(source, Source) else ""
        reason, detail = printable(violation.reason), printable(violation.detail)
        line = f"  {paint(where, 'place')}{paint(reason, 'warn' if violation.accepted else 'bad')}"
        check = f"[{violation.check}]"
        if len(where) + len(reason) + len(detail) + len(check) + 7 <= columns:
            yield line + (f" ({detail})" if detail else "") + f"  {check}\n"
        else:
            yield line + "\n" + wrapped(f"{detail} {check}".lstrip(), 6, columns) + "\n"
        if violation.accepted:
            yield wrapped(f"accepted: {violation.accepted}", 6, columns) + "\n"
    yield from _of_pods(checked, columns)
    yield "\n"


def _of_pods(checked: Checked, columns: int) -> Iterator[str]:
    """Yield that the pods meet the policy, and the template does not; and what to do about a pod."""
    pods = checked.pods
    if checked.advice:
        yield wrapped(printable(f"→ {checked.advice}"), 2, columns) + "\n"
    if pods is None:
        return
    by = pods.by[0] if len(pods.by) == 1 else f"one of {', '.join(pods.by)}" if pods.by else "admission"
    runs = f" ({counted(pods.running, 'pod')} running)" if pods.running else ""
    words = f"its template does not meet {checked.policy}, its {'new ' if pods.older else ''}pods do{runs}: "
    words += f"{by} mutates them, so none is refused" if pods.proved else "admission may have mutated them"
    if pods.older:
        named = ", ".join(pods.older[:3]) + (f" and {len(pods.older) - 3:,} more" if len(pods.older) > 3 else "")
        words += f"; {named} {'is' if len(pods.older) == 1 else 'are'} older and will stay below it until recreated"
        words += f": {pods.restart}" if pods.restart else ""
    yield wrapped(printable(words), 2, columns) + "\n"


def _heading(checked: Checked) -> str:
    identity = checked.identity
    name = paint(object_name(identity), "strong") + template_of(identity)
    owner = f", {place(identity.source)}" if isinstance(identity.source, LiveSource) and identity.source.owner else ""
    if checked.before is not None:
        return f"{name}: {_newly(checked, checked.before)}{owner}\n"
    return f"{name}: {level_text(checked.level)}, not {sourced(checked.policy)}{owner}\n"


def _newly(checked: Checked, before: Before) -> str:
    """Return what a workload is at another policy version, and what it is today."""
    now = "meets" if before.met else "is below"
    return f"{now} {sourced(before.policy)}, and at {checked.policy.version} it is {level_text(checked.level)}"


def wide(report: Report) -> Iterator[str]:
    """Yield every workload with the API server's message, the field paths and the evidence."""
    columns, counts = report.columns, Statistics()
    for checked in report.results:
        counts.add(checked)
        identity = checked.identity
        where = paint(place(identity.source), "place")
        name = paint(object_name(identity), "strong")
        yield f"{name} {printable(pointer(identity.pod_path))}  {where}  {level_text(checked.level)}\n"
        origin = f" ({checked.policy.origin})" if checked.policy.origin else ""
        if checked.violations:
            words = f'violates PodSecurity "{checked.policy}": {_message(checked.violations)}{origin}'
            yield wrapped(words, 2, columns) + "\n"
        elif origin and not checked.left_out:
            held = f"{checked.policy}{origin}"
            yield wrapped(held if checked.policy.exempt else f"held to {held}", 2, columns) + "\n"
        if checked.left_out:
            yield wrapped(left_out_words(checked.left_out), 2, columns) + "\n"
        if checked.before is not None:
            yield f"  {_newly(checked, checked.before)}\n"
        for violation in checked.violations:
            line = f" line {violation.line}" if violation.line is not None else ""
            excused = violation.accepted or violation.known
            check = paint(violation.check, "warn" if excused else "bad")
            accepted = f", accepted: {printable(violation.accepted)}" if violation.accepted else ""
            known = ", known" if violation.known else ""
            yield f"  {check} ({violation.level}){line}{accepted}{known}\n"
            for path in violation.paths:
                yield f"      {printable(pointer(path))}\n"
        yield from _of_pods(checked, columns)
        if checked.origin:
            from kubectl_harden.reports.origin import origin_words  # late: files have no such origin

            yield f"  {paint('from', 'strong')} " + wrapped(origin_words(checked.origin), 7, columns).lstrip() + "\n"
        for text, origin in dict.fromkeys((known_words(fact), fact.origin) for fact in _telling(checked.facts)):
            yield f"  {paint('known', 'strong')} "
            yield wrapped(f"{text} ({origin})", 8, columns).lstrip() + "\n"
    if report.statistics:
        yield "\n"
        yield from counts.lines()


def _telling(facts: Iterable[Fact]) -> Iterator[Fact]:
    """Yield facts without those that only say that one more capability was not used."""
    return (fact for fact in facts if not (fact.kind == "unused" and fact.topic == "capability"))


def known_words(fact: Fact) -> str:
    """Return what a fact says."""
    return f"{fact.text}: {fact.value}" if fact.kind == "unknown" and fact.value else fact.text


def _message(violations: Iterable[Violation]) -> str:
    """Return the API server's message for violations, after its word "violates …:"."""
    return ", ".join(worded(v.reason, v.detail) for v in violations)


def name(report: Report) -> Iterator[str]:
    """Yield the names of the workloads below the level, as kubectl writes them."""
    for checked in report.results:
        if left(checked.violations):
            identity = checked.identity
            group = api_group(identity.api_version)
            suffix = f".{group}" if group else ""
            yield printable(f"{identity.kind.lower()}{suffix}/{identity.name}") + "\n"


def concise(report: Report) -> Iterator[str]:
    """Yield a line for each violation that is neither accepted nor known, never wrapped: place, control, words.

    The place is ``file:line``, as in editors and grep, or the live object.
    """
    for checked in report.results:
        source = checked.identity.source
        for violation in left(checked.violations):
            if isinstance(source, Source):
                where = f"{source.file}:{violation.line}" if violation.line else source.file
            else:
                where = object_name(checked.identity)
            words = worded(violation.reason, violation.detail)
            yield printable(f"{where}: {violation.check}: {words}") + "\n"
