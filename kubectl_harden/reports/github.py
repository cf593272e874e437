"""The report of ``check`` as annotations of a GitHub workflow.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from collections.abc import Iterator

from kubectl_harden.model import Source
from kubectl_harden.pod_security.policy import worded
from kubectl_harden.reports.tally import Report
from kubectl_harden.reports.terminal import object_name, printable

__all__ = ["github"]


def github(report: Report) -> Iterator[str]:
    """Yield a workflow command for each violation and problem: notices for accepted ones, nothing for known ones."""
    for item in report.results:
        for violation in item.violations:
            if violation.known:
                continue
            words = f"{object_name(item.identity)}: {worded(violation.reason, violation.detail)}"
            command = "error"
            if violation.accepted:
                command, words = "notice", f"{words}, accepted: {violation.accepted}"
            source = item.identity.source
            file = source.file if isinstance(source, Source) else None
            yield _command(command, file, violation.line, violation.check, words)
    for problem in report.tally.problems:
        yield _command("error", problem.file, problem.line, "not checked", problem.message)


def _command(command: str, file: str | None, line: int | None, title: str, words: str) -> str:
    properties = {"file": file, "line": line, "title": title} if file else {"title": title}
    listed = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if value)
    return f"::{command} {listed}::{_data(words)}\n"


def _data(text: str) -> str:
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
