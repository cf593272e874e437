"""The command ``check``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from kubectl_harden.cli import completing
from kubectl_harden.cli.clusters import contexts_options
from kubectl_harden.cli.codes import exit_code
from kubectl_harden.cli.evidence import AUDIT_LOG, EvidenceOptions, audit_log_of, evidence_options
from kubectl_harden.cli.groups import FILE, option
from kubectl_harden.cli.options import Command, repeated
from kubectl_harden.cli.page import HISTORY, TEAM_LABEL, about_check, keep
from kubectl_harden.cli.targets import FileInputs, LiveInputs, left_out, surveyed, target_options
from kubectl_harden.errors import ClusterError, UsageError
from kubectl_harden.reports.formats import FORMATS, render

if TYPE_CHECKING:
    from kubectl_harden.cli.audit_log import AuditLog
    from kubectl_harden.live.audited import Traced
    from kubectl_harden.manifests.baseline_file import Known
    from kubectl_harden.model import Checks, Policy
    from kubectl_harden.reports.tally import Tally
    from kubectl_harden.reports.upgrade import Upgrades

__all__ = ["check"]

_LONGEST: Final = 1000
"""Of a command that is printed: a shell's pattern may have named thousands of files."""
_NAMES: Final = tuple(FORMATS)
_SHOWN: Final = tuple(name for name in _NAMES if name != "wide")
"""What the help names: "wide" is text with --evidence."""


@click.command(cls=Command, short_help="Check manifests or live workloads as Pod Security admission does.")
@target_options
@contexts_options
@evidence_options
@option("-o", "--output", group="Output", type=click.Choice(_NAMES), default="text", metavar="FORMAT",
        help=f"{', '.join(_SHOWN[:-1])} or {_SHOWN[-1]}. [default: text]")  # fmt: skip
@option("--evidence", "show_evidence", group="Output", is_flag=True,
        help="Show all workloads, what is known about how each runs, and where it comes from.")  # fmt: skip
@option("--only", group="Policy", multiple=True, metavar="CHECK", shell_complete=completing.checks,
        help="Look only for violations of this control; may be repeated.")  # fmt: skip
@option("--skip", group="Policy", multiple=True, metavar="CHECK", shell_complete=completing.checks,
        help="Do not look for violations of this control; may be repeated.")  # fmt: skip
@option("--statistics", group="Output", is_flag=True,
        help="Count the violations by control and by namespace. [default: where there are many]")  # fmt: skip
@option("--known", group="Output", metavar="FILE", type=FILE,
        help="Baseline file: violations listed in it do not count.")  # fmt: skip
@option("--write-known", group="Output", metavar="FILE", type=FILE,
        help="Write a baseline file with the current violations.")  # fmt: skip
@option("--upgrade-to", group="Policy", metavar="[VERSION]", is_flag=False, flag_value="latest",
        help="List only what starts to fail at this policy version. [no value: the newest known]")  # fmt: skip
@HISTORY
@TEAM_LABEL
@AUDIT_LOG
def check(
    inputs: FileInputs | LiveInputs,
    policy: Policy,
    output: str,
    show_evidence: bool,
    statistics: bool,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    evidence: EvidenceOptions,
    known: str | None,
    write_known: str | None,
    upgrade_to: str | None,
    history_dir: str | None,
    team_label: str,
    audit_logs: tuple[str, ...],
) -> int:
    """Evaluate manifests or live workloads as Pod Security admission does, in its own words.

    Workloads are judged with the defaults that the API server gives them. Live pods are traced to the object that
    you edit; a pod that you name is also judged itself. --evidence also shows what is known about how each workload
    runs, which fix uses to judge its edits, and where the workload comes from: a Helm release, Flux, Argo CD or
    kubectl apply. What --only and --skip leave out does not count, and the summary says so. With --audit-log,
    pods that no longer exist count too, unless their workload has been fixed since.

    The exit code is 0 when all workloads meet the level, 1 when some do not, 3 when something could not be read,
    and 4 when the cluster refused. With --upgrade-to it is 1 when something fails at that version but not today,
    and 2 when nothing is held to an older version.

    \b
    Examples:
      kubectl harden check -f deployment.yaml
      kubectl harden check -f manifests/ -R --level baseline
      kubectl harden check -f . -R --build
      kubectl harden check -k overlays/prod
      kubectl harden check --helm-chart charts/web --values prod.yaml
      helm template charts/web | kubectl harden check -f - -o json
      kubectl harden check deploy/web sts/db -n shop
      kubectl harden check -A --level restricted
      kubectl harden check -A --upgrade-to v1.37
      kubectl harden check -A --contexts 'prod-*' -o json
      kubectl harden check -A --audit-log /var/log/kubernetes/audit/
      # In a pipeline: a log for code scanning, and only what is new fails
      kubectl harden check -f manifests/ -R -o sarif > harden.sarif
      kubectl harden check -f manifests/ -R --write-known known.json
      kubectl harden check -f manifests/ -R --known known.json -o github
      # A page to show around, with what changed since the last run
      kubectl harden check -A -o html --history runs/ > page.html
    """
    from kubectl_harden.reports.output import data, line, note, note_problems, paragraph, report_problems, write
    from kubectl_harden.reports.tally import Tally, left_out_words, summary_line

    if show_evidence:
        output = _with_evidence(output)
    form = FORMATS[output]
    if statistics and output not in ("text", "wide"):
        raise UsageError(f"--statistics is for -o text; programs can count the output of -o {output} themselves")
    chosen = _chosen(only, skip) if only or skip else None
    if (only or skip) and (write_known is not None or upgrade_to is not None):
        raise UsageError("--write-known and --upgrade-to are for all controls: leave out --only and --skip")
    if write_known is not None and not isinstance(inputs, LiveInputs) and inputs.inputs.skip_others:
        raise UsageError("--write-known writes a file, which a hook (--skip-others) must not: leave one of them out")
    if form.files and isinstance(inputs, LiveInputs):
        raise UsageError(f"-o {output} is for lines of files: for live workloads use -o json, sarif or junit")
    if isinstance(inputs, LiveInputs) and inputs.contexts and (known or write_known):
        raise UsageError("a baseline file is for one cluster: select it with --context")
    if history_dir is not None and output != "html":
        raise UsageError("--history is for -o html, whose page shows it")
    if audit_logs and (only or skip):
        raise UsageError("--audit-log shows pods with all that they violate: leave out --only and --skip")
    _refuse_audit_log(audit_logs, inputs, output, known or write_known or upgrade_to)
    audit = audit_log_of(audit_logs)
    came: list[Traced] = []
    notes: list[str] = []
    upgrade = None if upgrade_to is None else _upgrade(upgrade_to, output, known or write_known)
    compared: Upgrades | None = None
    if upgrade is not None:
        # Imported late: few checks compare with a policy version.
        from kubectl_harden.planning.upgrade import upgraded
        from kubectl_harden.reports.upgrade import Upgrades

        compared = Upgrades(f"v1.{upgrade}")
        policy = upgraded(policy, upgrade)
    tally = Tally() if compared is None else compared
    if output == "html" and write_known is None:
        tally.about = about_check(inputs, history_dir, team_label)
    all_count = write_known is not None or upgrade is not None
    of_project = None if isinstance(inputs, LiveInputs) or all_count else inputs.project.known
    if known is None and of_project is not None:
        # The summary names a baseline file that is not on the command line.
        known = tally.baseline = of_project
    baseline = _baseline(known, write_known, regular=known == tally.baseline)
    named = baseline is not None
    if isinstance(inputs, LiveInputs):
        from kubectl_harden.cli.live_results import live_results

        if audit is not None:
            tally.problems += audit.problems()
            came = _came_and_went(audit, inputs, tally, notes)
        tally.clusters = {context.name: Tally() for context in inputs.contexts}
        results = live_results(inputs, form, evidence, notes, named=named, upgrade=upgrade)
    else:
        from kubectl_harden.manifests.check import check_files

        learn = evidence.of_files() if form.evidence else None
        found = surveyed(inputs, origins=True)
        note_problems((*found.notes, *found.unjudged))
        tally.passed.notes.extend(found.unjudged)
        tally.passed.excluded = left_out(inputs, found)
        propose = form.propose() if form.propose is not None else None
        results = check_files(found.inputs, found.policies, learn, propose, named=named, upgrade=upgrade)
    if baseline is not None and write_known is not None:
        if tally.passed.excluded:
            note(tally.passed.excluded)
        return _write_known(baseline, results)
    if baseline is not None:
        results = map(baseline.mark, results)
    if chosen is not None:
        results = chosen(results)
    told, noted = 0, len(tally.passed.notes)
    pieces = render(form, results, policy, tally, statistics=statistics)

    def report() -> None:
        nonlocal told, noted
        noted = note_problems(tally.passed.notes, noted)
        told = report_problems(tally.problems, told)

    def with_problems() -> Iterator[str]:
        for piece in pieces:
            yield piece
            report()

    if form.people:
        write(with_problems())
    else:
        data(pieces)
    report()
    if tally.clusters and form.people:
        from kubectl_harden.reports.clusters import clusters_table

        write(clusters_table(tally.clusters))
    if audit is not None:
        if form.people and isinstance(inputs, LiveInputs):
            audit.show(came, inputs.cluster)
        audit.note()
    for words in dict.fromkeys(notes):
        note(words)
    if baseline is not None:
        _note_baseline(baseline)
    if form.people and tally.violating and upgrade is None and not isinstance(inputs, LiveInputs) and inputs.chart:
        from kubectl_harden.cli.built import propose_values

        write(propose_values(inputs.chart, found.inputs, found.policies))
    if not form.people and tally.passed.excluded:
        note(tally.passed.excluded)
    if not form.people and tally.left_out:
        note(left_out_words(tally.left_out))
    if form.people:
        past = audit.past_words(came) if audit is not None else ""
        paragraph((summary_line(tally) if compared is None else compared.line()) + past)
        if tally.violating and output == "text" and not tally.clusters:
            line(_advice(inputs, upgrade))
    if compared is not None:
        _note_compared(compared)
    if tally.about is not None:
        keep(tally.about.history)
    left = bool(tally.violating or tally.refused) or any(item.state != "fixed" for item in came)
    return exit_code(tally.problems, left=left)


def _note_baseline(baseline: Known) -> None:
    """Note what in the baseline file is out of date."""
    from kubectl_harden.reports.output import note

    for words in baseline.notes:
        note(words)
    if baseline.cured:
        entries = "1 entry" if baseline.cured == 1 else f"{baseline.cured:,} entries"
        verb, them = ("is", "it") if baseline.cured == 1 else ("are", "them")
        note(f"{entries} of {baseline.file} {verb} fixed; --write-known {baseline.file} takes {them} out")


def _note_compared(compared: Upgrades) -> None:
    """Note what an upgrade does not change. Raises UsageError where it changes nothing that was judged."""
    from kubectl_harden.reports.output import note

    if compared.pinned:
        held = "1 of them is" if compared.pinned == 1 else f"{compared.pinned:,} of them are"
        note(f"{held} pinned to a version, which does not change when the cluster is upgraded")
    if compared.uncomparable and not compared.problems:
        from kubectl_harden.pod_security.policy import NEWEST

        raise UsageError(
            f"nothing to compare: everything judged is held to {compared.version} or a newer version already "
            f"(--policy-version sets what to compare with; the newest known version is v1.{NEWEST})"
        )


def _chosen(only: tuple[str, ...], skip: tuple[str, ...]) -> Callable[[Iterable[Checks]], Iterator[Checks]]:
    """Return what leaves verdicts the violations that --only and --skip choose. Raises UsageError."""
    # Imported late: few checks choose.
    from kubectl_harden.cli.only import checks_named, of_controls

    return partial(of_controls, only=checks_named(only, "--only"), skip=checks_named(skip, "--skip"))


def _refuse_audit_log(files: tuple[str, ...], inputs: FileInputs | LiveInputs, output: str, other: str | None) -> None:
    """Refuse --audit-log where it has no meaning. Raises UsageError."""
    if not files:
        return
    if not isinstance(inputs, LiveInputs):
        raise UsageError("--audit-log is for a cluster: leave out the files, and select namespaces with -n or -A")
    if inputs.contexts:
        raise UsageError("--audit-log is for one cluster: select it with --context")
    if inputs.targets.names or inputs.targets.types or inputs.targets.selector:
        raise UsageError("--audit-log is for whole namespaces: leave out workloads, types and -l, and use -n or -A")
    if output not in ("text", "wide", "json", "yaml"):
        raise UsageError("--audit-log is for -o text, wide, json and yaml")
    if other is not None:
        raise UsageError("--audit-log shows past pods: leave out --known, --write-known and --upgrade-to")


def _came_and_went(audit: AuditLog, inputs: LiveInputs, tally: Tally, notes: list[str]) -> list[Traced]:
    """Return what the audit log shows about the namespaces that are checked."""
    from kubectl_harden.live.audited import audited_since
    from kubectl_harden.live.find import Finder
    from kubectl_harden.pod_security.policy import PolicyChoice
    from kubectl_harden.reports.audit_log import unaudited_json, unaudited_notes

    finder = Finder(inputs.cluster, PolicyChoice(), inputs.targets.pod_paths)
    found = audit.traced(finder, inputs.targets)
    since: dict[str, float | None] | None = None
    try:
        since = audited_since(inputs.cluster, inputs.targets, inputs.choice)
        notes.extend(unaudited_notes(audit.span, since))
    except ClusterError as error:
        notes.append(f"whether the audit log shows every violation is not known: {error}")
    if inputs.choice.level == "baseline":
        found = [item for item in found if item.creation.may_violate("baseline")]
    notes += finder.notes
    if not found and audit.span.evaluations and not tally.problems:
        notes.append(f"the audit log shows nothing else that violates what is audited or enforced{audit.period}")
    tally.audit = {**audit.json(found), **unaudited_json(audit.span, since)}
    return found


def _with_evidence(output: str) -> str:
    """Return the format that shows the evidence as well. Raises UsageError."""
    if output == "text":
        return "wide"
    if not FORMATS[output].evidence:
        raise UsageError(f"--evidence is for -o text and html: -o {output} does not show it")
    return output


def _upgrade(version: str, output: str, baseline: str | None) -> int:
    """Return the minor number of the policy version to compare with. Raises UsageError."""
    forms = [name for name, form in FORMATS.items() if form.upgrades]
    if output not in forms:
        raise UsageError(f"--upgrade-to is for -o {', '.join(forms[:-1])} and {forms[-1]}")
    if baseline is not None:
        raise UsageError("--upgrade-to lists nothing that fails today: leave the baseline file out")
    from kubectl_harden.cli.upgrade import upgrade_minor

    return upgrade_minor(version)


def _baseline(known: str | None, write_known: str | None, *, regular: bool) -> Known | None:
    """Return the baseline file to write, or to compare with, if there is one."""
    if known is None and write_known is None:
        return None
    # Imported late: few checks have one.
    from kubectl_harden.manifests.baseline_file import load, load_to_write

    return load_to_write(write_known) if write_known is not None else load(known or "", regular=regular)


def _write_known(known: Known, results: Iterable[Checks]) -> int:
    """Write the baseline file, which keeps entries that were not judged; problems are reported, not written."""
    from kubectl_harden.manifests.baseline_file import save
    from kubectl_harden.reports.output import line, note_problems, report_problems
    from kubectl_harden.words import counted

    file = known.file
    found = [known.mark(item) for item in results]
    note_problems([other.note for item in found for other in item.others if other.note is not None])
    problems = [problem for item in found for problem in item.problems]
    violations = sum(not one.accepted for item in found for checked in item.checked for one in checked.violations)
    entries = known.renewed()
    save(file, entries)
    report_problems(problems)
    kept = known.kept(entries)
    beside = f", along with {kept:,} that were not judged" if kept else ""
    line(f"{counted(violations, 'violation')} written to {file}{beside}: check --known {file} fails on new ones only")
    return exit_code(problems, left=False)


def _advice(inputs: FileInputs | LiveInputs, upgrade: int | None) -> str:
    """Return how to see the smallest fix of the same inputs, for another policy version if there is one."""
    from kubectl_harden.cluster.command import Commands

    commands = inputs.cluster.connection.commands if isinstance(inputs, LiveInputs) else Commands()
    words = list(repeated(click.get_current_context()))
    if upgrade is not None:
        if "--policy-version" in words:
            at = words.index("--policy-version")
            del words[at : at + 2]
        words += ["--policy-version", f"v1.{upgrade}"]
    command = commands.harden("fix", *words)
    if len(command) > _LONGEST:
        return "See the smallest fix: replace check with fix"
    of_builds = " (and fix -k DIR, fix --helm-chart DIR)" if click.get_current_context().params.get("build") else ""
    return f"See the smallest fix: {command}{of_builds}"
