"""The command ``fix``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from kubectl_harden.cli import completing
from kubectl_harden.cli.codes import OK, UNREADABLE, VIOLATIONS
from kubectl_harden.cli.evidence import EvidenceOptions, companion_options, evidence_options
from kubectl_harden.cli.groups import option
from kubectl_harden.cli.only import checks_named
from kubectl_harden.cli.options import Command
from kubectl_harden.cli.targets import FileInputs, LiveInputs, left_out, surveyed, target_options
from kubectl_harden.errors import UsageError
from kubectl_harden.model import RISKS, HostPathChoice

if TYPE_CHECKING:
    from kubectl_harden.manifests.namespaces import Surveyed
    from kubectl_harden.model import Policy, Risk
    from kubectl_harden.plan_model import FileFix
    from kubectl_harden.planning.companions import Asked
    from kubectl_harden.planning.options import FixOptions

__all__ = ["fix"]

_FORMATS: Final = ("diff", "json-patch", "strategic-patch", "kustomize", "yaml", "json", "mutating-policy")


@click.command(cls=Command, short_help="Show or make the smallest change that meets the level.")
@target_options
@option("-o", "--output", group="Output", type=click.Choice(_FORMATS), default=None, metavar="FORMAT",
        help=f"{', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}. [default: diff]")  # fmt: skip
@option("--write", group="Output", is_flag=True, help="Edit the files in place.")
@option("--apply", "apply_", group="Output", is_flag=True, help="Patch the live workloads, and watch their rollouts.")
@option("-i", "--interactive", group="Output", is_flag=True,
        help="Ask about each edit, then write or apply those that you choose.")  # fmt: skip
@option("-y", "--yes", group="Output", is_flag=True, help="Apply without asking.")
@option("--max-risk", group="What to change", type=click.Choice(RISKS), default="review", show_default=True,
        help="The highest risk that an edit may have.")  # fmt: skip
@option("--only", group="What to change", multiple=True, metavar="CHECK", shell_complete=completing.checks,
        help="Fix only this control; may be repeated.")  # fmt: skip
@option("--skip", group="What to change", multiple=True, metavar="CHECK", shell_complete=completing.checks,
        help="Do not fix this control; may be repeated.")  # fmt: skip
@option("--host-path", "host_paths", group="What to change", multiple=True, metavar="NAME=CHOICE",
        help="What replaces a hostPath volume: emptyDir, pvc:CLAIM, configmap:NAME or remove.")  # fmt: skip
@option("--source", "sources", group="Output", multiple=True, metavar="[URL=]DIR",
        help="Checkout of the repository that live workloads come from: fix the files there.")  # fmt: skip
@option("--values-out", group="Output", metavar="FILE", type=click.Path(dir_okay=False),
        help="Write the chart's values to this file.")  # fmt: skip
@option("--write-templates", group="What to change", is_flag=True,
        help="Write a chart's values, and edit its templates where no value can fix it.")  # fmt: skip
@option("--partial", group="What to change", is_flag=True, help="Also make edits that do not reach a level.")
@companion_options
@evidence_options
@option("--timeout", group="Rollout", default="5m", show_default=True, metavar="TIME",
        help="Longest wait for a rollout.")  # fmt: skip
@option("--no-rollback", group="Rollout", is_flag=True, help="Leave a change in place even if its pods fail.")
@option("--parallel", group="Rollout", type=click.IntRange(1, 64), default=4, show_default=True, metavar="N",
        help="Number of workloads to apply at a time.")  # fmt: skip
@option("--fail-fast", group="Rollout", is_flag=True, help="Start no more workloads after a failure.")
@option("--trial/--no-trial", group="Rollout", default=None,
        help="Start one trial pod first. [default: if the rollout takes a pod down first]")  # fmt: skip
@option("--recreate", group="Rollout", is_flag=True, help="Delete and create Pods and Jobs, which cannot be patched.")
@option("--at-admission", group="Output", is_flag=True,
        help="With --apply: do not patch workloads; create policies that change their new pods.")  # fmt: skip
@option("--at-owner", group="Output", is_flag=True,
        help="Change the custom resource that the workload is made from, not the workload.")  # fmt: skip
@option("--owner-field", "owner_fields", group="What to change", multiple=True, metavar="PATH",
        help="With --at-owner: the field to change, if several fit; may be repeated.")  # fmt: skip
@option("--expires", group="Rollout", default="90d", show_default=True, metavar="TIME",
        help="When to review the policies of --at-admission: days, such as 90d, or a date.")  # fmt: skip
@option("--even-if-managed", group="What to change", is_flag=True,
        help="Patch workloads even if Helm, Argo CD, Flux or an operator manages them.")  # fmt: skip
def fix(
    inputs: FileInputs | LiveInputs,
    policy: Policy,
    output: str | None,
    write: bool,
    sources: tuple[str, ...],
    apply_: bool,
    yes: bool,
    max_risk: Risk,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    host_paths: tuple[str, ...],
    values_out: str | None,
    write_templates: bool,
    partial: bool,
    asked: Asked,
    evidence: EvidenceOptions,
    interactive: bool,
    timeout: str,
    no_rollback: bool,
    parallel: int,
    fail_fast: bool,
    trial: bool | None,
    recreate: bool,
    at_admission: bool,
    at_owner: bool,
    owner_fields: tuple[str, ...],
    expires: str,
    even_if_managed: bool,
) -> int:
    """Show or make the smallest change that brings workloads to the level.

    Without --write or --apply nothing changes: stdout gets the diff, stderr the risk of each edit and what stays
    below the level. In files, only the lines that must change do; every other byte stays. For live workloads, the
    diff is the result of a server dry-run. Before anything is applied, a dry-run proves that a pod is admitted; a
    rollout that fails is rolled back. For Helm releases, Helm changes the values.

    What is known about how the app runs (from its manifest, running pods, images and sensors) makes the risk of each
    edit safe, review or breaks. Edits above --max-risk are left out. Edits that together reach neither the level nor
    baseline are not made, unless they are safe; --partial makes them anyway, and so do your answers to -i.

    Companion edits, such as --run-as-user, keep an app running that the level alone would stop; --user-namespace
    lets it stay root where the policy allows that (v1.35). Where you cannot edit a workload because an operator or a
    chart writes it again, --at-admission and -o mutating-policy make the edits at admission: a
    MutatingAdmissionPolicy makes them to the workload's new pods. Where an operator's custom resource has fields for
    the edits, --at-owner sets these, and takes them back if the workload does not follow.

    The exit code is 0 when there is nothing left to do, 1 when a diff was shown or something stays below the level,
    3 when something could not be read, and 4 when the cluster refused.

    \b
    Examples:
      kubectl harden fix -f deployment.yaml
      kubectl harden fix -f manifests/ -R --write
      kubectl harden fix -f agent.yaml --host-path cache=emptyDir
      kubectl harden fix -f web.yaml --inspect-images --run-as-user 1000 --low-ports --write
      kubectl harden fix -f legacy.yaml --inspect-images --user-namespace auto
      kubectl harden fix -k overlays/prod --write
      kubectl harden fix --helm-chart charts/web --write
      helm template charts/web | kubectl harden fix -f - -o yaml
      kubectl harden fix deploy/web -n shop
      kubectl harden fix -n shop --level restricted --apply
      kubectl harden fix sts/db -n ops -o mutating-policy
      kubectl harden fix sts/db -n ops --at-admission --apply
      kubectl harden fix sts/db -n ops --at-owner --apply
      kubectl harden fix deploy/web -n shop --source ~/src/fleet --write
    """
    from kubectl_harden.planning.options import FixOptions

    options = FixOptions(
        max_risk,
        checks_named(only, "--only"),
        checks_named(skip, "--skip"),
        _host_paths(host_paths),
        asked,
        partial=partial,
    )
    if interactive:
        from kubectl_harden.cli.choosing import Chooser

        chooser = Chooser()
        options = options._replace(choose=chooser, max_risk=_limit(max_risk))
        if isinstance(inputs, LiveInputs):
            apply_ = yes = True
        else:
            write = True
        if output is not None:
            raise UsageError("-i asks on the terminal, and then writes or applies: leave out -o")
    if sources and (apply_ or interactive or not isinstance(inputs, LiveInputs)):
        raise UsageError(
            "--source edits the files that live workloads come from: name these by TYPE/NAME, and leave out --apply, -i"
        )
    if at_owner and (sources or interactive or at_admission or not isinstance(inputs, LiveInputs)):
        raise UsageError(
            "--at-owner changes what operators make live workloads from: name these by TYPE/NAME, and leave out "
            "--source, --at-admission, -i"
        )
    if owner_fields and not at_owner:
        raise UsageError("--owner-field names a field for --at-owner")
    if write_templates and (isinstance(inputs, LiveInputs) or inputs.chart is None):
        raise UsageError("--write-templates is for a chart: name it by --helm-chart")
    if write_templates and (interactive or output not in (None, "diff")):
        raise UsageError("--write-templates edits the chart as its plan says: leave out -i and -o")
    if values_out is not None and (isinstance(inputs, LiveInputs) or inputs.chart is None or output == "yaml"):
        raise UsageError("--values-out is for the values of a chart: name it by --helm-chart")
    if isinstance(inputs, LiveInputs):
        from kubectl_harden.cli.apply import fix_live

        if write and not sources:
            raise UsageError("--write edits files, of live workloads with --source; --apply patches the workloads")
        notes: list[str] = []
        options = options._replace(
            learn=evidence.of_cluster(
                inputs.cluster,
                notes,
                whole=not inputs.targets.names,
                recorded=asked.recorded_seccomp,
                namespaced=interactive or asked.user_namespace is not None,
            )
        )
        if sources:
            from kubectl_harden.cli.fix_source import fix_source

            return fix_source(inputs, options, output, sources, write=write, notes=notes)
        return fix_live(
            inputs,
            options,
            output,
            apply=apply_,
            yes=yes,
            timeout=timeout,
            no_rollback=no_rollback,
            parallel=parallel,
            fail_fast=fail_fast,
            trial=trial,
            recreate=recreate,
            even_if_managed=even_if_managed,
            at_admission=at_admission,
            owner_fields=owner_fields if at_owner else None,
            expires=expires,
            notes=notes,
        )
    if apply_:
        raise UsageError("--apply patches live workloads: name them by TYPE/NAME; files are edited by --write")
    if at_admission or output == "mutating-policy":
        raise UsageError("admission policies are made for live workloads: name them by TYPE/NAME")
    if inputs.inputs.render is not None:
        raise UsageError(
            "--build is for check: fix -k DIR makes patches of a kustomization, fix --helm-chart DIR values of a chart"
        )
    options = options._replace(learn=evidence.of_files())
    if inputs.kustomization and output in (None, "diff", "kustomize"):
        from kubectl_harden.cli.built import fix_kustomization

        paths = inputs.inputs.pod_paths
        return fix_kustomization(inputs.kustomization, paths, inputs.rules, options, write=write, quiet=output is None)
    if inputs.chart and output in (None, "diff"):
        from kubectl_harden.cli.built import ChartOutput, fix_chart
        from kubectl_harden.reports.output import note, note_problems

        found = surveyed(inputs, origins=True)
        note_problems(found.notes)
        if asked.user_namespace is not None:
            note("--user-namespace is not done: values reach security contexts, and hostUsers is outside of them")
            options = options._replace(asked=asked._replace(user_namespace=None))
        how = ChartOutput(write, quiet=output is None, out=values_out, templates=write_templates)
        return fix_chart(inputs.chart, found.inputs, found.policies, options, how)
    if write and (inputs.kustomization or inputs.chart):
        raise UsageError(
            f"-o {output} is for other programs, and --write writes patches next to the kustomization.yaml or values "
            "into the chart's: leave one of them out"
        )
    found = surveyed(inputs, origins=False)
    return _fix_files(found, left_out(inputs, found), policy, options, output, write)


def _limit(max_risk: Risk) -> Risk:
    """Return the highest risk to ask about: any, unless the user has set a limit."""
    source = click.get_current_context().get_parameter_source("max_risk")
    return "breaks" if source is click.core.ParameterSource.DEFAULT else max_risk


def _fix_files(
    found: Surveyed, excluded: str, head: Policy, options: FixOptions, output: str | None, write: bool
) -> int:
    from kubectl_harden.manifests.fix import fix_files, written
    from kubectl_harden.reports.fix import FixTally, diff, notes_on, render, summary_line
    from kubectl_harden.reports.output import data, note, note_problems, paragraph, patch, report_problems, tell
    from kubectl_harden.reports.repeated import Repeated
    from kubectl_harden.reports.terminal import width

    if write and "-" in found.inputs.names:
        raise UsageError("--write edits files; to fix stdin use -o yaml")
    tally = FixTally()
    people = output is None or output == "diff"

    def results() -> Iterator[FileFix]:
        for fixed in fix_files(found.inputs, found.policies, options):
            if write and fixed.splices:
                # Whoever passes on names has not chosen the links among them.
                fixed = written(fixed, () if found.inputs.skip_others else found.inputs.names)
            told, noted = len(tally.problems), len(tally.passed.notes)
            tally.add(fixed)
            note_problems(tally.passed.notes, noted)
            report_problems(tally.problems, told)
            yield fixed

    note_problems((*found.notes, *found.unjudged))
    tally.passed.notes.extend(found.unjudged)
    tally.passed.excluded = excluded
    if people:
        repeated = Repeated()
        for fixed in results():
            if output == "diff" or not write:
                patch(diff(fixed))
            for item in fixed.planned:
                tell(repeated.notes(item.identity, partial(notes_on, item), width(2)))
        tell(repeated.rest(width(2)))
        paragraph(summary_line(tally, written=write))
    else:
        data(render(str(output), results(), head))
        if excluded:
            note(excluded)
    if tally.problems:
        return UNREADABLE
    if tally.left or (tally.edited and people and not write):
        return VIOLATIONS
    return OK


def _host_paths(texts: tuple[str, ...]) -> dict[str, HostPathChoice]:
    out = {}
    for text in texts:
        name, separator, choice = text.partition("=")
        action, _, target = choice.partition(":")
        valid = (action in ("emptyDir", "remove") and not target) or (action in ("pvc", "configmap") and target)
        if not separator or not name or not valid:
            raise UsageError(
                f'--host-path "{text}": write NAME=emptyDir, NAME=pvc:CLAIM, NAME=configmap:NAME or NAME=remove'
            )
        out[name] = HostPathChoice(action, target)  # type: ignore[arg-type]
    return out
