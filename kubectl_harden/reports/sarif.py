"""The report of ``check`` as SARIF 2.1.0, as code scanning takes it.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html; what GitHub reads of it:
https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning.
The objects are plain JSON, which the libraries for it only wrap.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from kubectl_harden import __version__
from kubectl_harden.field_path import pointer
from kubectl_harden.model import Checked, Identity, Level, Policy, Problem, Replacement, Source, Violation
from kubectl_harden.pod_security.documentation import Explanation, explanations
from kubectl_harden.pod_security.policy import worded
from kubectl_harden.reports.goals import workload_policy_json
from kubectl_harden.reports.review import HOME, STANDARD, Fingerprints, file_name
from kubectl_harden.reports.tally import Report
from kubectl_harden.reports.terminal import json_text, object_name, printable
from kubectl_harden.text_files import leads_out

__all__ = ["sarif"]

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT: Final = "%SRCROOT%"
_SEVERITIES: Final[dict[Level, str]] = {"baseline": "8.0", "restricted": "5.5", "privileged": "0.0"}
"""How code scanning ranks rules: baseline forbids known ways to take over a node (high), restricted hardens."""


def sarif(report: Report) -> Iterator[str]:
    """Yield the log: one run, a rule for each control, a result for each violation."""
    rules = explanations()
    indexes = {rule.check: index for index, rule in enumerate(rules)}
    fingerprints = Fingerprints()
    found = [
        _result(item, violation, report.policy, indexes, fingerprints)
        for item in report.results
        for violation in item.violations
    ]
    driver = {
        "name": "kubectl harden",
        "version": __version__,
        "semanticVersion": __version__,
        "informationUri": HOME,
        "rules": [_rule(rule) for rule in rules],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                # What could not be read is not said to be well.
                "executionSuccessful": not report.tally.problems,
                "toolExecutionNotifications": [_notification(problem) for problem in report.tally.problems],
            }
        ],
        "properties": {"policy": str(report.policy)},
        "results": found,
    }
    yield json_text({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}) + "\n"


def _rule(rule: Explanation) -> dict[str, object]:
    parts = {"Without it": rule.gain, "May break": rule.breaks, "Fix": rule.fix}
    return {
        "id": rule.check,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.title} {rule.versions}"},
        "help": {
            "text": "\n\n".join(f"{head}: {words}" for head, words in parts.items()),
            "markdown": "\n\n".join(f"**{head}:** {words}" for head, words in parts.items()),
        },
        "helpUri": STANDARD,
        "defaultConfiguration": {"level": "error"},
        "properties": {
            "tags": ["security", "kubernetes", f"pod-security-{rule.level}"],
            "precision": "very-high",
            "security-severity": _SEVERITIES[rule.level],
        },
    }


def _result(
    item: Checked, violation: Violation, head: Policy, indexes: dict[str, int], fingerprints: Fingerprints
) -> dict[str, object]:
    name = object_name(item.identity)
    location: dict[str, object] = {"logicalLocations": [_object(item.identity)]}
    source = item.identity.source
    file = source.file if isinstance(source, Source) else None
    if file is not None:
        # Code scanning shows a result only where it has a line.
        location["physicalLocation"] = _place(file, violation.line or 1)
    out: dict[str, object] = {
        "ruleId": violation.check,
        "ruleIndex": indexes[violation.check],
        "level": "error",
        "message": {"text": printable(f"{name}: {worded(violation.reason, violation.detail)}")},
        "locations": [location],
        "partialFingerprints": {"primaryLocationLineHash": fingerprints.of(item, violation)},
        "properties": {
            "paths": [pointer(path) for path in violation.paths],
            "level": violation.level,
            **({"cluster": printable(item.identity.cluster)} if item.identity.cluster else {}),
            **workload_policy_json(item.identity, item.policy, head),
        },
    }
    if violation.accepted:
        out["suppressions"] = [
            {"kind": "inSource", "status": "accepted", "justification": printable(violation.accepted)}
        ]
    if violation.known:
        out["suppressions"] = [{"kind": "external", "status": "accepted"}]
    if violation.fix and file is not None:
        replacements = [_replacement(change) for change in violation.fix]
        change = {"artifactLocation": _artifact(file), "replacements": replacements}
        out["fixes"] = [{"description": {"text": f"The smallest change that fixes {violation.check}"},
                         "artifactChanges": [change]}]  # fmt: skip
    return out


def _object(identity: Identity) -> dict[str, Any]:
    """Return an object as a logical location: the only one that a live object has."""
    name = printable(identity.name or "(no name)")
    parts = [printable(part) for part in (identity.cluster, identity.namespace) if part]
    return {"name": name, "fullyQualifiedName": "/".join([*parts, printable(identity.kind), name]), "kind": "resource"}


def _artifact(file: str) -> dict[str, str]:
    name = file_name(file)
    if os.path.isabs(name) or leads_out(name):
        return {"uri": PurePath(os.path.abspath(name)).as_uri()}
    return {"uri": quote(os.fsencode(name)), "uriBaseId": _ROOT}


def _place(file: str, line: int, column: int | None = None) -> dict[str, Any]:
    region = {"startLine": line, **({"startColumn": column} if column else {})}
    return {"artifactLocation": _artifact(file), "region": region}


def _replacement(change: Replacement) -> dict[str, object]:
    region = {
        "startLine": change.start_line,
        "startColumn": change.start_column,
        "endLine": change.end_line,
        "endColumn": change.end_column,
    }
    return {"deletedRegion": region, "insertedContent": {"text": change.text}}


def _notification(problem: Problem) -> dict[str, object]:
    words = f"{problem.cluster}: {problem.message}" if problem.cluster else problem.message
    out: dict[str, object] = {"level": "error", "message": {"text": printable(words)}}
    if problem.cluster:
        out["properties"] = {"cluster": printable(problem.cluster)}
    if problem.file is not None:
        out["locations"] = [{"physicalLocation": _place(problem.file, problem.line or 1, problem.column)}]
    return out
