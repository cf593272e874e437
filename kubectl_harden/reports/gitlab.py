"""The report of ``check`` as GitLab's code quality takes it, which shows in a merge request what is new in it.

https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kubectl_harden.model import Checked, Level, Problem, Source, Violation
from kubectl_harden.pod_security.policy import worded
from kubectl_harden.reports.review import Fingerprints, file_name
from kubectl_harden.reports.tally import Report
from kubectl_harden.reports.terminal import json_text, object_name, printable

__all__ = ["gitlab"]

_SEVERITIES: Final[dict[Level, str]] = {"baseline": "critical", "restricted": "major"}
"""Severity by the level of the control: what baseline forbids are known ways out of a container."""


def gitlab(report: Report) -> Iterator[str]:
    """Yield an entry for each violation and problem: information for accepted ones, nothing for known ones."""
    fingerprints = Fingerprints()
    entries = [
        _violation(item, violation, fingerprints)
        for item in report.results
        for violation in item.violations
        if not violation.known
    ]
    entries += [_unread(problem, fingerprints) for problem in report.tally.problems]
    yield json_text(entries) + "\n"


def _violation(item: Checked, violation: Violation, fingerprints: Fingerprints) -> dict[str, object]:
    words = f"{object_name(item.identity)}: {worded(violation.reason, violation.detail)}"
    words += f", accepted: {violation.accepted}" if violation.accepted else ""
    source = item.identity.source
    file, line = (source.file, violation.line or source.line) if isinstance(source, Source) else (None, None)
    return {
        "description": printable(words),
        "check_name": violation.check,
        "fingerprint": fingerprints.of(item, violation),
        "severity": "info" if violation.accepted else _SEVERITIES[violation.level],
        "location": _location(file, line),
    }


def _unread(problem: Problem, fingerprints: Fingerprints) -> dict[str, object]:
    return {
        "description": f"not checked: {printable(problem.message)}",
        "check_name": "not-checked",
        "fingerprint": fingerprints.of_problem(problem),
        "severity": "blocker",
        "location": _location(problem.file, problem.line),
    }


def _location(file: str | None, line: int | None) -> dict[str, object]:
    return {"path": file_name(file) if file else ".", "lines": {"begin": line or 1}}
