"""The report of ``check`` in the Reviewdog Diagnostic Format (rdjson), whose suggestions reviewers take with a click.

https://github.com/reviewdog/reviewdog/blob/master/proto/rdf/reviewdog.proto: lines and columns count from 1, columns in
bytes of UTF-8, and a range's end is exclusive.
"""

from __future__ import annotations

from collections.abc import Iterator

from kubectl_harden.model import Checked, Problem, Source, Violation
from kubectl_harden.pod_security.policy import worded
from kubectl_harden.reports.review import HOME, STANDARD, file_name
from kubectl_harden.reports.tally import Report
from kubectl_harden.reports.terminal import json_text, object_name, printable

__all__ = ["rdjson"]


def rdjson(report: Report) -> Iterator[str]:
    """Yield a diagnostic for each violation and problem: information for accepted ones, nothing for known ones."""
    diagnostics = [
        _diagnostic(item, violation) for item in report.results for violation in item.violations if not violation.known
    ]
    diagnostics += [_unread(problem) for problem in report.tally.problems]
    source = {"name": "kubectl harden", "url": HOME}
    yield json_text({"source": source, "diagnostics": diagnostics}) + "\n"


def _diagnostic(item: Checked, violation: Violation) -> dict[str, object]:
    words = f"{object_name(item.identity)}: {worded(violation.reason, violation.detail)}"
    words += f", accepted: {violation.accepted}" if violation.accepted else ""
    source = item.identity.source
    location = _location(source.file, violation.line or source.line) if isinstance(source, Source) else {}
    # A service shows one suggestion a comment, in the lines that it replaces.
    suggestions = [
        {
            "range": {
                "start": {"line": fix.start_line, "column": fix.start_column},
                "end": {"line": fix.end_line, "column": fix.end_column},
            },
            "text": fix.text,
        }
        for fix in violation.fix
        if not violation.accepted
    ]
    return {
        "message": printable(words),
        **location,
        "severity": "INFO" if violation.accepted else "ERROR",
        "code": {"value": violation.check, "url": STANDARD},
        **({"suggestions": suggestions} if suggestions else {}),
    }


def _unread(problem: Problem) -> dict[str, object]:
    location = _location(problem.file, problem.line) if problem.file is not None else {}
    return {"message": f"not checked: {printable(problem.message)}", **location, "severity": "ERROR"}


def _location(file: str, line: int | None) -> dict[str, object]:
    return {"location": {"path": file_name(file), "range": {"start": {"line": line or 1}}}}
