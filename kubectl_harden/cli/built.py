"""``fix`` for built manifests: patches next to a kustomization, values of a chart."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Final, NamedTuple

from kubectl_harden.cli.codes import OK, UNREADABLE, VIOLATIONS, exit_code
from kubectl_harden.errors import EditError, InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kubectl_harden.manifests.policies import Policies, Rules
    from kubectl_harden.manifests.programs import Chart
    from kubectl_harden.manifests.reader import Inputs
    from kubectl_harden.manifests.value_search import Cure
    from kubectl_harden.model import Problem
    from kubectl_harden.plan_model import FileFix, Planned
    from kubectl_harden.planning.options import FixOptions
    from kubectl_harden.pod_security.pod_templates import PodPaths
    from kubectl_harden.reports.fix import FixTally
    from kubectl_harden.reports.passed import Passed

__all__ = ["ChartOutput", "fix_chart", "fix_kustomization", "post_renderer", "propose_values"]


_UNNAMED: Final = "values.yaml"
_NAMED: Final = 12
"""At most this many of the values that were tried are named."""


def fix_kustomization(
    directory: str, pod_paths: PodPaths, rules: Rules, options: FixOptions, *, write: bool, quiet: bool
) -> int:
    """Show or write the patches that fix what a kustomization builds; with ``quiet``, what is written is not shown."""
    from kubectl_harden.manifests.kustomize import fix_kustomization, write_overlay
    from kubectl_harden.reports.output import note_problems
    from kubectl_harden.reports.passed import Passed

    overlay = fix_kustomization(directory, rules, options, pod_paths)
    note_problems(overlay.notes)
    passed = Passed()
    passed.add(overlay.others)
    note_problems(passed.notes)
    problems = list(overlay.problems)
    files = overlay.files
    if write and overlay.files:
        try:
            write_overlay(overlay)
        except EditError as error:
            from kubectl_harden.model import Problem

            problems.append(Problem(str(error)))
            files = ()
    return _shown(files, overlay.planned, problems, passed, write=write, quiet=quiet)


class ChartOutput(NamedTuple):
    """What to do with values that are found: ``write`` them, into the file ``out`` if one is named.

    ``quiet``: what is written is not shown. ``templates``: the chart's templates are edited, too, where no value helps.
    """

    write: bool
    quiet: bool
    out: str | None = None
    templates: bool = False


def fix_chart(chart: Chart, manifests: Inputs, policies: Policies, options: FixOptions, how: ChartOutput) -> int:
    """Show or write the values that fix what a chart renders (``manifests``); what no value fixes is reported.

    Raises UsageError where they have no file to go into.
    """
    from kubectl_harden.manifests.helm_values import cure
    from kubectl_harden.manifests.values_file import edited, values_file
    from kubectl_harden.reports.fix import FixTally, notes_of_many
    from kubectl_harden.reports.output import line, note_problems, paragraph, report_problems, tell
    from kubectl_harden.reports.terminal import width
    from kubectl_harden.words import counted

    file, out = values_file(chart, how.out), how.out
    if how.write and file is None:
        raise UsageError("the chart is an archive, which is not edited: --values-out FILE writes the values to a file")
    if how.templates and not os.path.isdir(chart.path):
        raise UsageError("the chart is an archive: --write-templates edits those in a directory")
    if out is not None and os.path.exists(out) and out not in chart.values[-1:]:
        raise UsageError(f"{out} exists, but is not used to render the chart: also pass it as the last --values")
    found = cure(chart, manifests, policies, options)
    changes: tuple[FileFix, ...] = ()
    if how.templates:
        found, changes = _with_templates(chart, manifests, found, policies, options)
    tally = FixTally()
    tally.count(found.planned)
    problems, tally.passed = _unread(manifests, policies)
    if not found.values:
        return _without_values(found, chart, manifests, tally, problems)
    change = edited(file or _UNNAMED, found.values)
    _put((*changes, change), chart, how)
    tell(notes_of_many(found.planned, columns=width(2)))
    for key, words in found.said:
        line(f"{key}: the chart says: {words}")
    note_problems(tally.passed.notes)
    report_problems(problems)
    is_written = how.write or how.templates or out is not None
    done = "written" if is_written else "--write adds them" if file else "--values-out FILE writes them"
    words = f"these values fix {found.cured} of {counted(found.before, 'violation')}, proved by rendering again"
    paragraph(f"{change.file}: {words}; {done}")
    _tell_rest(found, chart, manifests)
    return exit_code(problems, left=bool(tally.left) or not is_written)


def _put(changes: Sequence[FileFix], chart: Chart, how: ChartOutput) -> None:
    """Show the changes of files, and write them where that is asked for: the templates, and then the values."""
    from kubectl_harden.atomic_files import write_change
    from kubectl_harden.reports.diff import unified
    from kubectl_harden.reports.output import patch
    from kubectl_harden.yaml_text.editor import spliced

    is_written = how.write or how.templates or how.out is not None
    for change in changes:
        if not (is_written and how.quiet):
            patch(unified(change.file, change.before, change.splices))
    for change in changes if is_written else ():
        is_own = change is not changes[-1] or not (chart.values or how.out)
        after = spliced(change.before, change.splices)
        write_change(change.file, change.before, after, inside=chart.path if is_own else None)


def _with_templates(
    chart: Chart, manifests: Inputs, found: Cure, policies: Policies, options: FixOptions
) -> tuple[Cure, tuple[FileFix, ...]]:
    """Return the values of the chart with templates that accept more of them, and the changes of these templates."""
    import tempfile

    from kubectl_harden.manifests.chart_templates import opened_templates
    from kubectl_harden.manifests.helm_values import cure
    from kubectl_harden.reports.output import paragraph

    with tempfile.TemporaryDirectory(prefix="kubectl-harden-") as directory:
        opened = opened_templates(chart, manifests, found, policies, options, directory)
        if opened.closed:
            named = ", ".join(opened.closed)
            why = "they have security contexts of their own, or do not show where the pods are"
            paragraph(f"templates not edited, since {why}: {named}")
        if not opened.changes:
            return found, ()
        better = cure(opened.chart, manifests, policies, options)
    return (better, opened.changes) if better.cured > found.cured else (found, ())


def _tell_rest(found: Cure, chart: Chart, manifests: Inputs) -> None:
    """Report what is left in pods that only helm test runs, and how to fix what no value sets."""
    from kubectl_harden.manifests.value_plans import NO_VALUE
    from kubectl_harden.reports.output import paragraph
    from kubectl_harden.words import counted

    tested = _tested(found, manifests)
    if tested:
        paragraph(f"{counted(tested, 'violation')} left in pods that only helm test runs: --skip-tests leaves them out")
    if found.held_back:
        named = ", ".join(found.held_back[:_NAMED])
        more = f" and {len(found.held_back) - _NAMED:,} more" if len(found.held_back) > _NAMED else ""
        paragraph(f"Not set, because it brings no pod to a level (--partial): {named}{more}")
    if any(left.why == NO_VALUE for item in found.planned for left in item.plan.remaining):
        paragraph(post_renderer(shlex.quote(chart.name)))


def post_renderer(chart: str, release: str = "RELEASE") -> str:
    """Return how to set, in what a chart renders, what no value sets."""
    return (
        f"A post-renderer makes the changes that no value can: helm upgrade --install {release} {chart} "
        "--post-renderer harden (Helm 4, with the plugin), or --post-renderer kubectl-harden --post-renderer-args=fix "
        "--post-renderer-args=-f --post-renderer-args=- --post-renderer-args=-o --post-renderer-args=yaml (Helm 3)"
    )


def _tested(found: Cure, manifests: Inputs) -> int:
    """Return how many violations are left in pods that run under ``helm test`` only."""
    from kubectl_harden.manifests.chart_words import only_tests

    tests = only_tests(manifests.rendered)
    return sum(
        not left.accepted and (item.identity.kind, item.identity.name) in tests
        for item in found.planned
        for left in item.plan.remaining
    )


def _unread(manifests: Inputs, policies: Policies) -> tuple[list[Problem], Passed]:
    """Return what cannot be judged in what a chart renders, and what is skipped."""
    from kubectl_harden.manifests.check import check_files
    from kubectl_harden.reports.passed import Passed

    passed = Passed()
    problems: list[Problem] = []
    for item in check_files(manifests, policies):
        problems.extend(item.problems)
        passed.add(item.others)
    return problems, passed


def _without_values(found: Cure, chart: Chart, manifests: Inputs, tally: FixTally, problems: list[Problem]) -> int:
    """Report that no values were found, what was tried, and what is left; return the exit code."""
    from kubectl_harden.reports.fix import notes_of_many, summary_line
    from kubectl_harden.reports.output import note_problems, paragraph, report_problems, tell
    from kubectl_harden.reports.terminal import width
    from kubectl_harden.words import counted

    tell(notes_of_many(found.planned, columns=width(2)))
    if tally.left:
        named = ", ".join(found.tried[:_NAMED])
        more = f" and {len(found.tried) - _NAMED:,} more" if len(found.tried) > _NAMED else ""
        tried = f"{counted(len(found.tried), 'value')} tried in {counted(found.renderings, 'rendering')}"
        head = "no values of the chart fix them" if found.complete else "no values that fix them were found"
        head = "no values of the chart bring a pod to a level" if found.held_back else head
        paragraph(f"{head}: {tried}{f': {named}{more}' if named else ''}")
    note_problems(tally.passed.notes)
    report_problems(problems)
    _tell_rest(found, chart, manifests)
    paragraph(summary_line(tally, written=False))
    return exit_code(problems, left=bool(tally.left))


def propose_values(chart: Chart, manifests: Inputs, policies: Policies) -> Iterator[str]:
    """Yield what a person should know about the values that would fix what a chart renders (``manifests``)."""
    from kubectl_harden.manifests.helm_values import FEW, cure
    from kubectl_harden.planning.options import FixOptions
    from kubectl_harden.reports.terminal import printable
    from kubectl_harden.words import counted
    from kubectl_harden.yaml_text.tree import dump

    try:
        found = cure(chart, manifests, policies, FixOptions(), FEW)
    except InputError as error:
        yield f"No values are proposed, because the chart accepts none to try: {printable(str(error))}\n\n"
        return
    if not found.values and found.refusal:
        yield f"No values are proposed, because the chart accepts none to try: {printable(found.refusal)}\n\n"
    if found.values:
        yield f"These values fix {found.cured} of {counted(found.before, 'violation')}, proved by rendering again:\n\n"
        yield "".join(f"  {printable(line)}\n" for line in dump(found.values).splitlines()) + "\n"
    tested = _tested(found, manifests)
    if tested:
        yield f"{counted(tested, 'violation')} left in pods that only helm test runs: --skip-tests leaves them out\n\n"


def _shown(
    files: Sequence[FileFix],
    planned: Sequence[Planned],
    problems: list[Problem],
    passed: Passed,
    *,
    write: bool,
    quiet: bool,
) -> int:
    """Show diffs, notes, problems and the summary, and return the exit code."""
    from kubectl_harden.reports.fix import FixTally, diff, notes_of_many, summary_line
    from kubectl_harden.reports.output import paragraph, patch, report_problems, tell
    from kubectl_harden.reports.terminal import width
    from kubectl_harden.words import counted

    if not files and any(item.plan.edits for item in planned):
        report_problems(problems)
        paragraph(f"{counted(len(planned), 'workload')}: nothing is changed")
        return UNREADABLE
    tally = FixTally()
    tally.count(planned)
    tally.problems.extend(problems)
    tally.passed = passed
    for found in files:
        tally.files_changed += 1
        if not (write and quiet):
            patch(diff(found))
    tell(notes_of_many(planned, columns=width(2)))
    report_problems(tally.problems)
    paragraph(summary_line(tally, written=write))
    if tally.problems:
        return UNREADABLE
    return VIOLATIONS if tally.left or (tally.edited and not write) else OK
