"""The report of ``check``: text, wide, name, json, yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from kubectl_harden.model import Checked, Checks, Fact, Identity, LiveSource, Policy, Problem, Source, Violation
from kubectl_harden.policy import worded
from kubectl_harden.render.terminal import (
    counted,
    json_text,
    level_text,
    object_name,
    paint,
    place,
    printable,
    width,
    wrapped,
)
from kubectl_harden.workload import pointer
from kubectl_harden.yaml_tree import dump

__all__ = [
    "FORMATS",
    "Tally",
    "identity_json",
    "live_policy_json",
    "policy_json",
    "problem_json",
    "render",
    "source_json",
    "summary_line",
]


class Tally:
    """Counts of a run; ``summary`` is the JSON report's."""

    def __init__(self) -> None:
        self.levels = {"restricted": 0, "baseline": 0, "privileged": 0}
        self.violations = 0
        self.accepted = 0
        self.violating = 0
        self.problems: list[Problem] = []
        self.policies: set[str] = set()

    def add(self, found: Checks) -> None:
        """Count what one file brought."""
        self.problems.extend(found.problems)
        for checked in found.checked:
            self.levels[checked.level] += 1
            accepted = sum(bool(violation.accepted) for violation in checked.violations)
            self.accepted += accepted
            self.violations += len(checked.violations) - accepted
            self.violating += len(checked.violations) > accepted
            self.policies.add(str(checked.policy))

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
            "errors": len(self.problems),
        }


def render(output: str, results: Iterable[Checks], policy: Policy, tally: Tally, colour: bool) -> Iterator[str]:
    """Yield the report in pieces, counting into ``tally``; no piece waits for later files but yaml's."""

    def counted_results() -> Iterator[Checked]:
        for found in results:
            tally.add(found)
            yield from found.checked

    return FORMATS[output](counted_results(), policy, tally, colour)


def _text(results: Iterator[Checked], policy: Policy, tally: Tally, colour: bool) -> Iterator[str]:
    columns = width()
    for checked in results:
        if checked.violations:
            yield "".join(_described(checked, columns, colour))


def _described(checked: Checked, columns: int, colour: bool) -> Iterator[str]:
    source = checked.identity.source
    yield _heading(checked, colour)
    for violation in checked.violations:
        where = place(source, violation.line) + "  " if isinstance(source, Source) else ""
        reason, detail = printable(violation.reason), printable(violation.detail)
        line = f"  {paint(where, 'place', colour)}{paint(reason, 'warn' if violation.accepted else 'bad', colour)}"
        if len(where) + len(reason) + len(detail) + 5 <= columns:
            yield line + (f" ({detail})\n" if detail else "\n")
        else:
            yield line + "\n" + wrapped(detail, 6, columns) + "\n"
        if violation.accepted:
            yield wrapped(f"accepted: {printable(violation.accepted)}", 6, columns) + "\n"
    yield "\n"


def _heading(checked: Checked, colour: bool) -> str:
    identity = checked.identity
    name = paint(object_name(identity), "strong", colour)
    if identity.pod_path not in ((), ("template",), ("spec", "template")):
        name += " " + printable(pointer(identity.pod_path))
    owner = f", {place(identity.source)}" if isinstance(identity.source, LiveSource) and identity.source.owner else ""
    return f"{name}: {level_text(checked.level, colour)}, not {checked.policy}{owner}\n"


def _wide(results: Iterator[Checked], policy: Policy, tally: Tally, colour: bool) -> Iterator[str]:
    columns = width()
    for checked in results:
        identity = checked.identity
        where = paint(place(identity.source), "place", colour)
        name = paint(object_name(identity), "strong", colour)
        yield f"{name} {printable(pointer(identity.pod_path))}  {where}  {level_text(checked.level, colour)}\n"
        if checked.violations:
            yield wrapped(f'violates PodSecurity "{checked.policy}": {_message(checked.violations)}', 2, columns) + "\n"
        for violation in checked.violations:
            line = f" line {violation.line}" if violation.line is not None else ""
            check = paint(violation.check, "warn" if violation.accepted else "bad", colour)
            accepted = f", accepted: {printable(violation.accepted)}" if violation.accepted else ""
            yield f"  {check} ({violation.level}){line}{accepted}\n"
            for path in violation.paths:
                yield f"      {printable(pointer(path))}\n"
        for text, origin in dict.fromkeys((_words(fact), fact.origin) for fact in _telling(checked.facts)):
            yield f"  {paint('known', 'strong', colour)} "
            yield wrapped(f"{printable(text)} ({origin})", 8, columns).lstrip() + "\n"


def _telling(facts: Iterable[Fact]) -> Iterator[Fact]:
    """Yield facts without those that only say of one capability more that it was not used."""
    return (fact for fact in facts if not (fact.kind == "unused" and fact.topic.isupper()))


def _words(fact: Fact) -> str:
    return f"{fact.text}: {fact.value}" if fact.kind == "unknown" and fact.value else fact.text


def _message(violations: Iterable[Violation]) -> str:
    """Return the API server's message for violations, after its word "violates …:"."""
    return printable(", ".join(worded(v.reason, v.detail) for v in violations))


def _name(results: Iterator[Checked], policy: Policy, tally: Tally, colour: bool) -> Iterator[str]:
    for checked in results:
        if any(not violation.accepted for violation in checked.violations):
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


def live_policy_json(identity: Identity, policy: Policy) -> dict[str, Any]:
    """Return the policy of a live workload, which its namespace may have chosen; nothing for manifests."""
    return {"policy": policy_json(policy)} if isinstance(identity.source, LiveSource) else {}


def policy_json(policy: Policy) -> dict[str, str]:
    """Return a policy as reports give it."""
    return {"level": policy.level, "version": policy.version}


def problem_json(problem: Problem) -> dict[str, Any]:
    """Return an entry of ``errors``."""
    return {
        "file": problem.file,
        "document": problem.document,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
    }


def _workload_json(checked: Checked) -> dict[str, Any]:
    return {
        **identity_json(checked.identity),
        **live_policy_json(checked.identity, checked.policy),
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
            }
            for violation in checked.violations
        ],
    }


def _head(policy: Policy) -> dict[str, Any]:
    return {
        "apiVersion": "kubectl-harden/v1",
        "kind": "CheckReport",
        "policy": policy_json(policy),
    }


def _json(results: Iterator[Checked], policy: Policy, tally: Tally, colour: bool) -> Iterator[str]:
    yield json_text(_head(policy))[:-2] + ',\n  "workloads": ['
    separator = "\n    "
    for checked in results:
        yield separator + json_text(_workload_json(checked)).replace("\n", "\n    ")
        separator = ",\n    "
    tail = {"errors": [problem_json(problem) for problem in tally.problems], "summary": tally.summary()}
    yield "\n  ],\n" + json_text(tail)[2:] + "\n"


def _yaml(results: Iterator[Checked], policy: Policy, tally: Tally, colour: bool) -> Iterator[str]:
    workloads = [_workload_json(checked) for checked in results]
    errors = [problem_json(problem) for problem in tally.problems]
    yield dump({**_head(policy), "workloads": workloads, "errors": errors, "summary": tally.summary()})


FORMATS: Final[dict[str, Callable[[Iterator[Checked], Policy, Tally, bool], Iterator[str]]]] = {
    "text": _text,
    "wide": _wide,
    "json": _json,
    "yaml": _yaml,
    "name": _name,
}


def summary_line(tally: Tally) -> str:
    """Return the last line for people."""
    if not tally.workloads:
        return "no workloads found"
    goal = next(iter(tally.policies)) if len(tally.policies) == 1 else "the level of their namespaces"
    accepted = counted(tally.accepted, "accepted violation") if tally.accepted else ""
    if not tally.violating:
        return f"{counted(tally.workloads, 'workload')}: all meet {goal}{f' but for {accepted}' if accepted else ''}"
    return (
        f"{counted(tally.workloads, 'workload')}: {tally.violating:,} below {goal} "
        f"({counted(tally.violations, 'violation')}{f', besides {accepted}' if accepted else ''}); "
        f"{tally.levels['privileged']:,} privileged, {tally.levels['baseline']:,} baseline, "
        f"{tally.levels['restricted']:,} restricted"
    )
