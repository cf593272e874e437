"""``migrate -f``: raises the Namespaces in files as far as their workloads in the same files allow."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click

from kubectl_harden.cli.codes import exit_code
from kubectl_harden.cli.options import pod_paths_of, project_of
from kubectl_harden.cli.targets import named_files
from kubectl_harden.errors import UsageError

if TYPE_CHECKING:
    from kubectl_harden.manifests.namespace_plans import Aim, Migration

__all__ = ["migrate_files", "refuse_options"]

_OF_CLUSTERS: Final = {
    "sources": "--source",
    "selector": "-l",
    "all_namespaces": "-A",
    "shard": "--shard",
    "report_file": "--report",
    "history_dir": "--history",
    "plan_out": "--plan-out",
    "plan_file": "--plan",
    "apply_": "--apply",
    "yes": "-y",
    "timeout": "--timeout",
    "parallel": "--parallel",
    "parallel_clusters": "--parallel-clusters",
    "max_failures": "--max-failures",
    "trial": "--trial",
    "recreate": "--recreate",
    "even_if_managed": "--even-if-managed",
    "at_admission": "--at-admission",
    "expires": "--expires",
    "team_label": "--team-label",
    "audit_logs": "--audit-log",
    "soak": "--soak",
    "upgrade_to": "--upgrade-to",
    "contexts": "--contexts",
    "all_contexts": "--all-contexts",
}
"""Options that say how a cluster is changed, or which namespaces of it, by the names of their parameters."""
_OF_FILES: Final = {"recursive": "-R", "write": "--write"}
_FEW: Final = 5
"""For up to this many Namespaces, what holds them back is shown object by object."""


def refuse_options(files: tuple[str, ...], output: str) -> None:
    """Raise UsageError for options that mean nothing with files, or without them."""
    refused = [option for name, option in (_OF_CLUSTERS if files else _OF_FILES).items() if _is_given(name)]
    if not files and "--write" in refused and (_is_given("sources") or _is_given("plan_file")):
        refused.remove("--write")
    if refused and files:
        raise UsageError(f"-f works on files, which --write edits, without a cluster: leave out {', '.join(refused)}")
    if refused:
        raise UsageError(f"{' and '.join(refused)} {'is' if len(refused) == 1 else 'are'} about files: name them by -f")
    if files and output in ("markdown", "policyreport"):
        raise UsageError(f"-o {output} is for a cluster: with -f use text, wide or json")


def _is_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is not click.core.ParameterSource.DEFAULT


def migrate_files(
    aim: Aim, files: tuple[str, ...], names: tuple[str, ...], pod_paths: tuple[str, ...], output: str,
    *, recursive: bool, write: bool,
) -> int:  # fmt: skip
    """Show how far the Namespaces of files are from a level, and the edits, or make them; returns the exit code."""
    from kubectl_harden.manifests.migrate import plan_migration, write_migration
    from kubectl_harden.manifests.reader import Inputs
    from kubectl_harden.reports.output import note, note_problems, report_problems
    from kubectl_harden.words import counted

    # A shell makes -f a.yaml b.yaml of -f *.yaml.
    for name in names:
        if not os.path.lexists(name):
            raise UsageError(f'"{name}" is not a file: with -f, -n {name} names a namespace')
    listed = [*named_files(files), *names]
    if write and "-" in listed:
        raise UsageError("--write edits files, and stdin is not a file")
    project = project_of()
    inputs = Inputs(tuple(listed), recursive, pod_paths_of(pod_paths, project), project.excluded())
    found = plan_migration(inputs, aim)
    if write:
        found = write_migration(found, inputs)
    for name in () if recursive else filter(_has_directories, listed):
        note(f"{name}: workloads in its subdirectories are not read; use -R to read them")
    note_problems(found.notes)
    if found.excluded:
        note(f"{project.file} excludes {counted(found.excluded, 'path')}")
    report_problems(found.problems)
    _show(found, aim, output, write=write)
    return exit_code(found.problems, left=_left(found, highest=aim.level == "highest", write=write))


def _has_directories(name: str) -> bool:
    with suppress(OSError), os.scandir(name) as entries:
        return any(entry.is_dir() and not entry.name.startswith(".") for entry in entries)
    return False


def _show(found: Migration, aim: Aim, output: str, *, write: bool) -> None:
    from kubectl_harden.reports.fix import diff, notes_of_many
    from kubectl_harden.reports.migrate_files import details, report_json, summary, table, unplaced_note
    from kubectl_harden.reports.output import data, note, paragraph, patch, tell
    from kubectl_harden.reports.terminal import json_text, width

    unplaced = unplaced_note(found.unplaced)
    if unplaced:
        note(unplaced)
    if output == "json":
        data([json_text(report_json(found, aim, written=write)), "\n"])
    else:
        columns, wide = width(2), output == "wide"
        for fix in () if write else found.files:
            patch(diff(fix))
        edited = (one for item in found.namespaces for one in item.edited)
        tell(notes_of_many(edited, columns=columns))
        tell(table(found, columns=columns))
        for item in found.namespaces if wide or len(found.namespaces) <= _FEW else ():
            tell(details(item, columns=columns, labels=wide))
    paragraph(summary(found, aim, written=write))


def _left(found: Migration, *, highest: bool, write: bool) -> bool:
    """Whether a Namespace is below what was asked for, or workloads are in namespaces that no file declares.

    ``highest``: what was asked for is the highest level that each can reach.
    """
    if not found.namespaces and (found.unplaced or found.undeclared):
        return True
    held_back = not highest and any(item.held_back for item in found.namespaces)
    if write:
        return held_back or bool(found.not_raised) or any(item.state == "blocked" for item in found.namespaces)
    return held_back or any(item.state != "done" for item in found.namespaces)
