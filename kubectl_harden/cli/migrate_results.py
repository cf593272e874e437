"""What ``migrate`` prints and writes of a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.migration.migrate import Migrated
    from kubectl_harden.migration.model import Aim, Blocker, Survey
    from kubectl_harden.model import Problem

__all__ = ["OUTPUTS", "Result", "is_left", "show", "sum_up", "write_plan_file", "write_report"]


class Result(NamedTuple):
    """What a run came to: the survey, what was migrated, and the command that takes it back ("" where none does).

    ``applied`` tells whether that was asked for.
    """

    cluster: Cluster
    aim: Aim
    found: Survey
    done: Sequence[Migrated]
    problems: Sequence[Problem]
    undo: str
    applied: bool


def show(found: Survey, *, detailed: bool, wide: bool) -> None:
    """Print the survey: the table of namespaces, and what each needs or what holds all of them back."""
    from kubectl_harden.reports.matrix import cause_lines, details, matrix
    from kubectl_harden.reports.output import write
    from kubectl_harden.reports.terminal import width

    columns = width()
    write(matrix(found, columns=columns))
    if detailed:
        for item in found.namespaces:
            write(details(item, columns=columns, labels=wide))
    elif any(item.blockers for item in found.namespaces):
        write(cause_lines(found, columns=columns))


def write_plan_file(file: str, found: Survey, aim: Aim, cluster: Cluster) -> None:
    """Write a plan of what was surveyed, and say how it is carried out."""
    from kubectl_harden.migration.plan_file import plan_value, write_plan
    from kubectl_harden.reports.output import line

    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_plan(file, plan_value(found, aim, cluster.connection.server, made))
    carry_out = cluster.connection.commands.harden("migrate", "--plan", file, "--apply")
    line(f"plan written to {file}: {carry_out}")


def write_report(file: str, result: Result) -> None:
    """Write the page of a run."""
    from kubectl_harden.atomic_files import write_new
    from kubectl_harden.reports.output import line
    from kubectl_harden.reports.report import report_page

    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    write_new(
        file,
        report_page(result.found, result.aim, result.done, where=result.cluster.connection.context or "", made=made),
    )
    line(f"report written to {file}")


def _print_json(result: Result) -> None:
    from kubectl_harden.reports.migration import report_json
    from kubectl_harden.reports.output import data
    from kubectl_harden.reports.terminal import json_text

    data([json_text(report_json(result.found, result.aim, result.done, result.problems)), "\n"])


def _print_markdown(result: Result) -> None:
    from kubectl_harden.reports.migration import markdown
    from kubectl_harden.reports.output import data

    data(markdown(result.found, result.aim, result.done))


def _print_policy_report(result: Result) -> None:
    from kubectl_harden.reports.output import data, note
    from kubectl_harden.reports.policy_report import api_of, reports
    from kubectl_harden.reports.terminal import json_text

    api, words = api_of(result.cluster.resources())
    if words:
        note(words)
    data([json_text(reports(result.found, api, int(time.time()))), "\n"])


OUTPUTS: Final = {"json": _print_json, "markdown": _print_markdown, "policyreport": _print_policy_report}
"""What prints the outputs for programs."""


def sum_up(result: Result) -> None:
    """Print the last line."""
    from kubectl_harden.reports.matrix import migrated_summary, survey_summary
    from kubectl_harden.reports.output import paragraph

    if result.applied and result.done:
        line = migrated_summary(result.done, result.undo)
    else:
        line = survey_summary(result.found, result.aim.level)
        reached = [item for item in result.found.namespaces if item.state in ("ready", "fixable")]
        # What only the audit log is against is patched, and not enforced.
        waiting = sum(bool(item.blockers) and item.goal == item.target for item in reached)
        if waiting:
            line += (
                f"; --apply makes the fixes, and {waiting:,} of them wait{'s' if waiting == 1 else ''} to be enforced"
            )
        elif reached:
            line += "; --apply takes them there"
    paragraph(line)


def is_left(result: Result) -> bool:
    """Return whether a namespace is below what was asked for.

    Of the highest level something is left where a fix failed, or where commands are known that lead further.
    """
    highest = result.aim.level == "highest"

    def held_back(blockers: Sequence[Blocker]) -> bool:
        return any(blocker.commands for blocker in blockers) if highest else bool(blockers)

    if result.applied:
        return any(
            item.state not in ("enforced", "done")
            or held_back(item.blockers)
            or any(outcome.state != "applied" for outcome in item.outcomes)
            for item in result.done
        )
    return any(item.state != "done" or held_back(item.blockers) for item in result.found.namespaces)
