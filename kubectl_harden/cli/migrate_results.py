"""What ``migrate`` prints and writes about a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.migration.at_source import SourceChanges
    from kubectl_harden.migration.migrate import Migrated
    from kubectl_harden.migration.model import Aim, Blocker, Survey
    from kubectl_harden.model import Problem
    from kubectl_harden.reports.history import History
    from kubectl_harden.reports.page_model import About

__all__ = [
    "OUTPUTS",
    "Result",
    "agreed",
    "is_left",
    "policy_reports",
    "report_of",
    "show",
    "show_changes",
    "show_upgrade",
    "sum_up",
    "write_plan_file",
    "write_report",
]


class Result(NamedTuple):
    """The result of a run: the survey, what was migrated, and the command that undoes it ("" where none does).

    ``applied`` tells whether that was asked for. ``changes`` are those of checkouts, None where none was named.
    """

    cluster: Cluster
    aim: Aim
    found: Survey
    done: Sequence[Migrated]
    problems: Sequence[Problem]
    undo: str
    applied: bool
    changes: SourceChanges | None = None


def show(found: Survey, *, detailed: bool, wide: bool) -> None:
    """Print the survey: the table of namespaces, and what each needs, or what holds all of them back."""
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


def show_upgrade(found: Survey, minor: int) -> None:
    """Print what fails at a policy version and not today."""
    from kubectl_harden.reports.output import write
    from kubectl_harden.reports.upgrade import survey_upgrade

    write(survey_upgrade(found, minor))


def show_changes(changes: SourceChanges) -> None:
    """Print what is changed in checkouts: the diffs, unless they are written, and what to commit."""
    from kubectl_harden.reports.migrate_source import diffs, source_lines
    from kubectl_harden.reports.output import patch, tell
    from kubectl_harden.reports.terminal import width

    if not changes.written:
        patch(diffs(changes))
    tell(source_lines(changes, columns=width(2)))


def write_plan_file(
    file: str, found: Survey, aim: Aim, cluster: Cluster, changes: SourceChanges | None, sources: Sequence[str]
) -> None:
    """Write a plan of what was surveyed, and say how it is carried out."""
    from kubectl_harden.migration.plan_file import plan_value, write_plan
    from kubectl_harden.reports.migrate_source import source_json
    from kubectl_harden.reports.output import line
    from kubectl_harden.times import rfc3339

    value = plan_value(found, aim, cluster.connection.server, cluster.connection.context, rfc3339())
    if changes is not None:
        value["atSource"] = {"sources": list(sources), **source_json(changes)}
    write_plan(file, value)
    how = ("--apply", "--write") if changes is not None and changes.repositories else ("--apply",)
    carry_out = cluster.connection.commands.harden("migrate", "--plan", file, *how)
    line(f"plan written to {file}: {carry_out}")


def write_report(file: str, result: Result, about: About) -> History | None:
    """Write the page of a run; returns the history, where one is asked for, with the run that is to be kept."""
    from kubectl_harden.atomic_files import write_new
    from kubectl_harden.reports.output import line
    from kubectl_harden.reports.report import report_page, run_of

    history = about.history
    if history is not None:
        now = run_of(result.found, result.done, about, len(result.problems))
        history = history._replace(now=now)
        about = about._replace(history=history)
    page = report_page(
        result.found, result.aim, result.done, about=about, problems=result.problems, changes=result.changes
    )
    write_new(file, page)
    line(f"report written to {file}")
    return history


def report_of(result: Result) -> dict[str, object]:
    """Return the MigrationReport of a run."""
    from kubectl_harden.reports.migrate_source import source_json
    from kubectl_harden.reports.migration import report_json
    from kubectl_harden.reports.upgrade import survey_upgrade_json

    value = report_json(result.found, result.aim, result.done, result.problems)
    if result.changes is not None:
        value["atSource"] = source_json(result.changes)
    if result.aim.upgrade is not None:
        value["upgrade"] = survey_upgrade_json(result.found, result.aim.upgrade)
    return value


def policy_reports(result: Result, cluster: str = "") -> dict[str, object]:
    """Return the PolicyReports of a run, by name of the ``cluster`` where there are several. Raises ClusterError."""
    from kubectl_harden.reports.output import note
    from kubectl_harden.reports.policy_report import api_of, reports

    api, words = api_of(result.cluster.resources())
    if words:
        note(f"{cluster}: {words}" if cluster else words)
    return reports(result.found, api, int(time.time()), cluster)


def _print_json(result: Result) -> None:
    from kubectl_harden.reports.output import data
    from kubectl_harden.reports.terminal import json_text

    data([json_text(report_of(result)), "\n"])


def _print_markdown(result: Result) -> None:
    from kubectl_harden.reports.migrate_source import source_markdown
    from kubectl_harden.reports.migration import markdown
    from kubectl_harden.reports.output import data

    data(markdown(result.found, result.aim, result.done))
    if result.changes is not None:
        data(source_markdown(result.changes))


def _print_policy_report(result: Result) -> None:
    from kubectl_harden.reports.output import data
    from kubectl_harden.reports.terminal import json_text

    data([json_text(policy_reports(result)), "\n"])


OUTPUTS: Final = {"json": _print_json, "markdown": _print_markdown, "policyreport": _print_policy_report}
"""What prints the outputs for programs."""


def sum_up(result: Result, name: str = "") -> None:
    """Print the last line, with the cluster's name where there are several."""
    from kubectl_harden.reports.matrix import migrated_summary, survey_summary
    from kubectl_harden.reports.migrate_source import source_summary
    from kubectl_harden.reports.output import paragraph

    if result.applied and result.done:
        line = migrated_summary(result.done, result.undo)
    else:
        line = survey_summary(result.found, result.aim.level)
        reached = [item for item in result.found.namespaces if item.state in ("ready", "fixable")]
        # Where only the audit log holds a namespace back, its workloads are patched, but the level is not enforced.
        waiting = sum(bool(item.blockers) and item.goal == item.target for item in reached)
        if waiting:
            line += (
                f"; --apply makes the fixes, and {waiting:,} of them wait{'s' if waiting == 1 else ''} to be enforced"
            )
        elif reached:
            line += "; --apply takes them there"
    said = source_summary(result.changes) if result.changes is not None else ""
    if said:
        paragraph(said)
    paragraph(f"{name}: {line}" if name else line)


def is_left(result: Result) -> bool:
    """Return whether a namespace is below what was asked for, or something is open in a checkout.

    For the highest level, something is left where a fix failed, or where commands are known that get further.
    """
    if result.changes is not None and result.changes.is_open:
        return True
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


def agreed(found: Survey, cluster: Cluster) -> bool:
    """Ask whether to carry out what a survey has found."""
    from kubectl_harden.reports.output import ask
    from kubectl_harden.words import counted

    reached = [item for item in found.namespaces if item.state in ("ready", "fixable")]
    # Where only labels that a checkout sets are missing, the workloads are still patched.
    labelled = [item for item in found.namespaces if item.state == "blocked" and item.only_labels]
    to_fix = [item.proposal.by_policy for namespace in (*reached, *labelled) for item in namespace.to_fix]
    created = sum(map(bool, to_fix))
    fixes = len(to_fix) - created
    pods = sum(len(item.to_evict) for item in reached)
    blocked = sum(item.state == "blocked" for item in found.namespaces)
    parts = []
    if fixes and not reached:
        parts.append(f"Patch {counted(fixes, 'workload')}")
    if reached:
        what = reached[0].name if len(reached) == 1 else f"{len(reached):,} namespaces"
        steps = [f"patching {counted(fixes, 'workload')}"] if fixes else []
        steps += [f"creating {counted(created, 'policy')}"] if created else []
        steps += [f"evicting {counted(pods, 'pod')}"] if pods else []
        after = f", after {' and '.join(steps)}" if steps else ""
        parts.append(f"Enforce the level in {what}{after}")
    if blocked:
        parts.append(
            f"{'set' if parts else 'Set'} warn and audit in {blocked:,} that {'are' if blocked > 1 else 'is'} held back"
        )
    return ask(f"{', and '.join(parts)}, {cluster.connection.place}?")
