"""The report of ``check`` for people, and as JSON, YAML and names; each format is a function of its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kubectl_harden.field_path import pointer
from kubectl_harden.model import Checked, Checks, Fact, Identity, LiveSource, Policy, Problem, Source, Violation
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.pod_security.policy import worded
from kubectl_harden.reports.goals import Goals, policy_json, sourced, workload_policy_json
from kubectl_harden.reports.origin import origin_json, origin_words
from kubectl_harden.reports.passed import Passed
from kubectl_harden.reports.terminal import (
    counted,
    json_text,
    level_text,
    object_name,
    paint,
    place,
    printable,
    template_of,
    width,
    wrapped,
)
from kubectl_harden.yaml_text.tree import dump

__all__ = [
    "Tally",
    "identity_json",
    "json",
    "known_words",
    "name",
    "problem_json",
    "source_json",
    "summary_line",
    "text",
    "wide",
    "yaml",
]


class Tally:
    """Counts of a run, and the baseline file that the project file names; ``summary`` is the JSON report's."""

    def __init__(self) -> None:
        self.levels = {"restricted": 0, "baseline": 0, "privileged": 0}
        self.violations = 0
        self.accepted = 0
        self.known = 0
        self.baseline = ""
        self.violating = 0
        self.refused = 0
        self.problems: list[Problem] = []
        self.passed = Passed()
        self.goals = Goals()

    def add(self, found: Checks) -> None:
        """Count what one file brought."""
        self.problems.extend(found.problems)
        self.passed.add(found.others)
        for checked in found.checked:
            self.levels[checked.level] += 1
            counts = left(checked.violations)
            self.violations += len(counts)
            self.violating += bool(counts)
            self.refused += bool(checked.pods_refused)
            self.accepted += sum(bool(violation.accepted) for violation in checked.violations)
            self.known += sum(violation.known for violation in checked.violations)
            self.goals.add(checked.policy)

    @property
    def workloads(self) -> int:
        """All pod templates that were evaluated."""
        return sum(self.levels.values())

    def summary(self) -> dict[str, int]:
        """Return the report's summary object."""
        return {
            "workloads": self.workloads,
            **self.levels,
            "violations": self.violations,
            "accepted": self.accepted,
            "known": self.known,
            "exempt": self.goals.exempt,
            "errors": len(self.problems),
        }


def text(results: Iterator[Checked], policy: Policy, tally: Tally) -> Iterator[str]:
    """Yield a paragraph for each workload below the level."""
    columns = width()
    for checked in results:
        if not all(violation.known for violation in checked.violations):
            yield "".join(_described(checked, columns))


def _described(checked: Checked, columns: int) -> Iterator[str]:
    source = checked.identity.source
    yield _heading(checked)
    for violation in checked.violations:
        if violation.known:
            continue
        where = place(source, violation.line) + "  " if isinstance(source, Source) else ""
        reason, detail = printable(violation.reason), printable(violation.detail)
        line = f"  {paint(where, 'place')}{paint(reason, 'warn' if violation.accepted else 'bad')}"
        if len(where) + len(reason) + len(detail) + 5 <= columns:
            yield line + (f" ({detail})\n" if detail else "\n")
        else:
            yield line + "\n" + wrapped(detail, 6, columns) + "\n"
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
    words = f"its template does not meet {checked.policy}, its pods do{runs}: "
    words += f"{by} completes them, so that none is refused" if pods.proved else "they may be completed by admission"
    yield wrapped(printable(words), 2, columns) + "\n"


def _heading(checked: Checked) -> str:
    identity = checked.identity
    name = paint(object_name(identity), "strong") + template_of(identity)
    owner = f", {place(identity.source)}" if isinstance(identity.source, LiveSource) and identity.source.owner else ""
    return f"{name}: {level_text(checked.level)}, not {sourced(checked.policy)}{owner}\n"


def wide(results: Iterator[Checked], policy: Policy, tally: Tally) -> Iterator[str]:
    """Yield every workload with the API server's message, the field paths and the evidence."""
    columns = width()
    for checked in results:
        identity = checked.identity
        where = paint(place(identity.source), "place")
        name = paint(object_name(identity), "strong")
        yield f"{name} {printable(pointer(identity.pod_path))}  {where}  {level_text(checked.level)}\n"
        origin = f" ({checked.policy.origin})" if checked.policy.origin else ""
        if checked.violations:
            words = f'violates PodSecurity "{checked.policy}": {_message(checked.violations)}{origin}'
            yield wrapped(words, 2, columns) + "\n"
        elif origin:
            held = f"{checked.policy}{origin}"
            yield wrapped(held if checked.policy.exempt else f"held to {held}", 2, columns) + "\n"
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
            yield f"  {paint('from', 'strong')} " + wrapped(origin_words(checked.origin), 7, columns).lstrip() + "\n"
        for text, origin in dict.fromkeys((known_words(fact), fact.origin) for fact in _telling(checked.facts)):
            yield f"  {paint('known', 'strong')} "
            yield wrapped(f"{text} ({origin})", 8, columns).lstrip() + "\n"


def _telling(facts: Iterable[Fact]) -> Iterator[Fact]:
    """Yield facts without those that only say of one capability more that it was not used."""
    return (fact for fact in facts if not (fact.kind == "unused" and fact.topic.isupper()))


def known_words(fact: Fact) -> str:
    """Return what a fact says."""
    return f"{fact.text}: {fact.value}" if fact.kind == "unknown" and fact.value else fact.text


def _message(violations: Iterable[Violation]) -> str:
    """Return the API server's message for violations, after its word "violates …:"."""
    return ", ".join(worded(v.reason, v.detail) for v in violations)


def name(results: Iterator[Checked], policy: Policy, tally: Tally) -> Iterator[str]:
    """Yield the names of the workloads below the level, as kubectl writes them."""
    for checked in results:
        if left(checked.violations):
            identity = checked.identity
            group, slash, _ = identity.api_version.partition("/")
            suffix = f".{group}" if slash else ""
            yield printable(f"{identity.kind.lower()}{suffix}/{identity.name}") + "\n"


def source_json(source: Source | LiveSource) -> dict[str, Any]:
    """Return a source as reports give it."""
    if isinstance(source, LiveSource):
        live = {"uid": source.uid, "resourceVersion": source.resource_version}
        return {**live, "owner": source.owner} if source.owner else live
    out: dict[str, Any] = {"file": source.file, "document": source.document, "line": source.line}
    if source.item is not None:
        out["item"] = source.item
    return out


def identity_json(identity: Identity) -> dict[str, Any]:
    """Return what all reports say of an object."""
    return {
        "source": source_json(identity.source),
        "apiVersion": identity.api_version,
        "kind": identity.kind,
        "namespace": identity.namespace,
        "name": identity.name,
        "podPath": pointer(identity.pod_path),
    }


def problem_json(problem: Problem) -> dict[str, Any]:
    """Return an entry of ``errors``."""
    return {
        "file": problem.file,
        "document": problem.document,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
    }


def _workload_json(checked: Checked, head: Policy) -> dict[str, Any]:
    return {
        **identity_json(checked.identity),
        **workload_policy_json(checked.identity, checked.policy, head),
        "level": checked.level,
        "allowed": not checked.violations,
        "violations": [
            {
                "check": violation.check,
                "level": violation.level,
                "reason": violation.reason,
                "detail": violation.detail,
                "paths": [pointer(path) for path in violation.paths],
                "line": violation.line,
                **({"accepted": violation.accepted} if violation.accepted else {}),
                **({"known": True} if violation.known else {}),
            }
            for violation in checked.violations
        ],
        **_pods_json(checked),
        **({"advice": checked.advice} if checked.advice else {}),
        **({"podsRefused": checked.pods_refused} if checked.pods_refused else {}),
        **origin_json(checked.origin),
    }


def _pods_json(checked: Checked) -> dict[str, Any]:
    pods = checked.pods
    if pods is None:
        return {}
    # Only pods that meet the policy are told of.
    return {
        "pods": {
            "level": pods.level,
            "violations": [],
            "running": pods.running,
            "proved": pods.proved,
            "completedBy": list(pods.by),
        }
    }


def _head(policy: Policy) -> dict[str, Any]:
    return {
        "apiVersion": "kubectl-harden/v1",
        "kind": "CheckReport",
        "policy": policy_json(policy),
    }


def json(results: Iterator[Checked], policy: Policy, tally: Tally) -> Iterator[str]:
    """Yield the CheckReport as JSON."""
    yield json_text(_head(policy))[:-2] + ',\n  "workloads": ['
    separator = "\n    "
    for checked in results:
        yield separator + json_text(_workload_json(checked, policy)).replace("\n", "\n    ")
        separator = ",\n    "
    tail = {"errors": [problem_json(problem) for problem in tally.problems], "summary": tally.summary()}
    yield "\n  ],\n" + json_text(tail)[2:] + "\n"


def yaml(results: Iterator[Checked], policy: Policy, tally: Tally) -> Iterator[str]:
    """Yield the CheckReport as YAML."""
    workloads = [_workload_json(checked, policy) for checked in results]
    errors = [problem_json(problem) for problem in tally.problems]
    yield dump({**_head(policy), "workloads": workloads, "errors": errors, "summary": tally.summary()})


def summary_line(tally: Tally) -> str:
    """Return the last line for people."""
    if not tally.workloads:
        return tally.passed.instead(read=not tally.problems)
    goal = tally.goals.goal()
    excused = [counted(tally.accepted, "accepted violation")] if tally.accepted else []
    file = f" {tally.baseline}" if tally.baseline else ""
    excused += [f"{counted(tally.known, 'violation')} of the baseline file{file}"] if tally.known else []
    words = " and ".join(excused)
    more = tally.goals.unbound() + tally.passed.unjudged()
    more += f"; {tally.refused:,} with refused pods, whatever their templates say" if tally.refused else ""
    if not tally.violating:
        return f"{counted(tally.workloads, 'workload')}: all meet {goal}{f' but for {words}' if words else ''}{more}"
    return (
        f"{counted(tally.workloads, 'workload')}: {tally.violating:,} below {goal} "
        f"({counted(tally.violations, 'violation')}{f', besides {words}' if words else ''}); "
        f"{tally.levels['privileged']:,} privileged, {tally.levels['baseline']:,} baseline, "
        f"{tally.levels['restricted']:,} restricted{more}"
    )
