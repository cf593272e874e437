"""The report of ``check`` as JUnit XML: a suite for each file (or namespace), a case for each pod template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree

from kubectl_harden.field_path import pointer
from kubectl_harden.model import Checked, Identity, Source
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.pod_security.policy import worded
from kubectl_harden.reports.tally import Report, left_out_words
from kubectl_harden.reports.terminal import error_line, object_name, place, printable

__all__ = ["junit"]

_CLUSTER: Final = "(cluster)"
"""The suite of what belongs to no file and no namespace."""


def junit(report: Report) -> Iterator[str]:
    """Yield the document; what could not be read is an error of its file's suite."""
    suites: dict[str, list[ElementTree.Element]] = {}
    for item in report.results:
        source = item.identity.source
        suite = source.file if isinstance(source, Source) else _place(item.identity)
        suites.setdefault(suite, []).append(_case(item))
    for problem in report.tally.problems:
        name = problem.file or "/".join(filter(None, (problem.cluster, problem.namespace))) or _CLUSTER
        case = ElementTree.Element("testcase", classname=printable(name), name="read")
        ElementTree.SubElement(case, "error", message=printable(problem.message)).text = error_line(problem)
        suites.setdefault(name, []).append(case)
    root = ElementTree.Element("testsuites", name="kubectl harden")
    for name, cases in suites.items():
        suite_element = ElementTree.SubElement(root, "testsuite", {"name": printable(name), **_counts(cases)})
        suite_element.extend(cases)
    for key, value in _counts([case for cases in suites.values() for case in cases]).items():
        root.set(key, value)
    ElementTree.indent(root)
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield ElementTree.tostring(root, encoding="unicode") + "\n"


def _place(identity: Identity) -> str:
    """Return the suite of a live object: its namespace, and its cluster where there are several."""
    return "/".join(filter(None, (identity.cluster, identity.namespace))) or _CLUSTER


def _counts(cases: list[ElementTree.Element]) -> dict[str, str]:
    counts = {"tests": len(cases)}
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        counts[key] = sum(case.find(tag) is not None for case in cases)
    return {key: str(count) for key, count in counts.items()}


def _case(item: Checked) -> ElementTree.Element:
    identity = item.identity
    where = pointer(identity.pod_path)
    name = object_name(identity) + (f" {where}" if identity.pod_path not in ((), ("spec", "template")) else "")
    source = identity.source
    classname = source.file if isinstance(source, Source) else _place(identity)
    case = ElementTree.Element("testcase", classname=printable(classname), name=printable(name))
    if isinstance(source, Source):
        case.set("file", printable(source.file))
        if source.line:
            case.set("line", str(source.line))
    counts = left(item.violations)
    if counts:
        message = ", ".join(printable(worded(violation.reason, violation.detail)) for violation in counts)
        failure = ElementTree.SubElement(case, "failure", type=f"{item.policy}", message=message)
        failure.text = "\n".join(
            f"{place(source, one.line)} {one.check}: {printable(worded(one.reason, one.detail))}".lstrip()
            for one in counts
        )
    elif item.violations:
        reasons = (f"{violation.check}: {violation.accepted or 'known'}" for violation in item.violations)
        ElementTree.SubElement(case, "skipped", message=printable("; ".join(reasons)))
    elif item.left_out:
        ElementTree.SubElement(case, "skipped", message=left_out_words(item.left_out))
    return case
