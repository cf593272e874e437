"""The report of ``check``: text, wide, name, json, yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from kubectl_harden.model import Checked, FileCheck, Identity, Problem, Source, Violation
from kubectl_harden.policy import Policy
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

__all__ = ["FORMATS", "Tally", "identity_json", "problem_json", "render", "source_json", "summary_line"]


class Tally:
    """Counts of a run; ``summary`` is the JSON report's."""

    def __init__(self) -> None:
        self.levels = {"restricted": 0, "baseline": 0, "privileged": 0}
        self.violations = 0
        self.violating = 0
        self.problems: list[Problem] = []

    def add(self, found: FileCheck) -> None:
        """Count what one file brought."""
        self.problems.extend(found.problems)
        for checked in found.checked:
            self.levels[checked.level] += 1
            self.violations += len(checked.violations)
            self.violating += bool(checked.violations)

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
            "errors": len(self.problems),
        }


def render(output: str, results: Iterable[FileCheck], policy: Policy, tally: Tally, colour: bool) -> Iterator[str]:
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
            yield _heading(checked, policy, colour)
            for violation in checked.violations:
                where = place(checked.identity.source, violation.line)
                reason, detail = printable(violation.reason), printable(violation.detail)
                line = f"  {paint(where, 'place', colour)}  {paint(reason, 'bad', colour)}"
                if len(where) + len(reason) + len(detail) + 7 <= columns:
                    yield line + (f" ({detail})\n" if detail else "\n")
                else:
                    yield line + "\n" + wrapped(detail, 6, columns) + "\n"
            yield "\n"


def _heading(checked: Checked, policy: Policy, colour: bool) -> str:
    identity = checked.identity
    name = paint(object_name(identity), "strong", colour)
    if identity.pod_path not in ((), ("template",), ("spec", "template")):
        name += " " + printable(pointer(identity.pod_path))
    return f"{name}: {level_text(checked.level, colour)}, not {policy}\n"


def _wide(results: Iterator[Checked], policy: Policy, tally: Tally, colour: bool) -> Iterator[str]:
    columns = width()
    for checked in results:
        identity = checked.identity
        where = paint(place(identity.source), "place", colour)
        name = paint(object_name(identity), "strong", colour)
        yield f"{name} {printable(pointer(identity.pod_path))}  {where}  {level_text(checked.level, colour)}\n"
        if checked.violations:
            yield wrapped(f'violates PodSecurity "{policy}": {_message(checked.violations)}', 2, columns) + "\n"
        for violation in checked.violations:
            yield f"  {paint(violation.check, 'bad', colour)} ({violation.level}) line {violation.line}\n"
            for path in violation.paths:
                yield f"      {printable(pointer(path))}\n"


def _message(violations: Iterable[Violation]) -> str:
    """Return the API server's message for violations, after its word "violates …:"."""
    return printable(", ".join(f"{v.reason} ({v.detail})" if v.detail else v.reason for v in violations))


def _name(results: Iterator[Checked], policy: Policy, tally: Tally, colour: bool) -> Iterator[str]:
    for checked in results:
        if checked.violations:
            identity = checked.identity
            group, slash, _ = identity.api_version.partition("/")
            suffix = f".{group}" if slash else ""
            yield printable(f"{identity.kind.lower()}{suffix}/{identity.name}") + "\n"


def source_json(source: Source) -> dict[str, Any]:
    """Return a source as reports give it."""
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


def _workload_json(checked: Checked) -> dict[str, Any]:
    return {
        **identity_json(checked.identity),
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
            }
            for violation in checked.violations
        ],
    }


def _head(policy: Policy) -> dict[str, Any]:
    return {
        "apiVersion": "kubectl-harden/v1",
        "kind": "CheckReport",
        "policy": {"level": policy.level, "version": policy.version},
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


def summary_line(tally: Tally, policy: Policy) -> str:
    """Return the last line for people."""
    if not tally.workloads:
        return "no workloads found"
    if not tally.violating:
        return f"{counted(tally.workloads, 'workload')}: all meet {policy}"
    return (
        f"{counted(tally.workloads, 'workload')}: {tally.violating:,} below {policy} "
        f"({counted(tally.violations, 'violation')}); "
        f"{tally.levels['privileged']:,} privileged, {tally.levels['baseline']:,} baseline, "
        f"{tally.levels['restricted']:,} restricted"
    )
