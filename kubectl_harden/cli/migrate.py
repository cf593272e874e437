"""The command ``migrate``."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, Literal

import click

from kubectl_harden.cli import completing
from kubectl_harden.cli.apply import may_ask
from kubectl_harden.cli.at_admission import expiry
from kubectl_harden.cli.audit_log import soaked_for
from kubectl_harden.cli.clusters import chosen_contexts, contexts_options, made_on
from kubectl_harden.cli.codes import INTERRUPTED, exit_code
from kubectl_harden.cli.connect import seconds
from kubectl_harden.cli.evidence import AUDIT_LOG, EvidenceOptions, audit_log_of, companion_options, evidence_options
from kubectl_harden.cli.groups import option
from kubectl_harden.cli.migrate_all import AskedOfAll, migrate_all
from kubectl_harden.cli.migrate_files import migrate_files, refuse_options
from kubectl_harden.cli.migrate_results import (
    OUTPUTS,
    is_left,
    sum_up,
    write_report,
)
from kubectl_harden.cli.migrate_run import CarryOut, Run, run_on
from kubectl_harden.cli.options import POD_PATH, Command, Connect, cluster_options, pod_paths_of, project_of
from kubectl_harden.cli.page import HISTORY, about_migration, keep, refuse_history
from kubectl_harden.cli.upgrade import upgrade_minor
from kubectl_harden.errors import InputError, UsageError
from kubectl_harden.model import RISKS

if TYPE_CHECKING:
    from kubectl_harden.model import Risk
    from kubectl_harden.planning.companions import Asked

__all__ = ["migrate"]

_FEW: Final = 5
"""For up to this many namespaces, the blockers are shown object by object."""


@click.command(cls=Command, short_help="Take namespaces to a level, step by step.")
@click.argument("names", nargs=-1, metavar="[NAMESPACE]...", shell_complete=completing.namespaces)
@option("-f", "--filename", "files", group="Targets", multiple=True, metavar="FILE|DIR|-",
        type=click.Path(allow_dash=True),
        help="Namespaces and workloads in files, instead of a cluster.")  # fmt: skip
@option("-R", "--recursive", group="Targets", is_flag=True, help="Process directories recursively.")
@option("-l", "--selector", group="Targets", default="", metavar="SELECTOR", help="Label selector of namespaces.")
@option("-A", "--all-namespaces", group="Targets", is_flag=True, help="All namespaces except Kubernetes' own.")
@option("--exclude", group="Targets", multiple=True, metavar="PATTERN",
        help="Namespaces to leave out; * and ? are wildcards.")  # fmt: skip
@option("--exclude-from", group="Targets", metavar="FILE", help="File of patterns to leave out, one on each line.")
@option("--source", "sources", group="What to change", multiple=True, metavar="[URL=]DIR",
        help="Checkout of a repository that workloads and namespaces come from: what is managed by others is changed "
             "there. May be repeated.")  # fmt: skip
@option("--shard", group="Targets", metavar="[INDEX/]COUNT",
        help="Work on one of COUNT shares. [default INDEX: $JOB_COMPLETION_INDEX]")  # fmt: skip
@option("--level", group="Policy", type=click.Choice(("baseline", "restricted", "highest")), default="restricted",
        show_default=True,
        help="Level to enforce; highest: the highest that each namespace can reach.")  # fmt: skip
@option("--policy-version", group="Policy", metavar="VERSION",
        help="Policy version to pin. [default: that of the namespace]")  # fmt: skip
@option("--upgrade-to", group="Policy", metavar="[VERSION]", is_flag=False, flag_value="latest",
        help="Also list what starts to fail at this policy version. [no value: the newest known]")  # fmt: skip
@option("--max-risk", group="What to change", type=click.Choice(RISKS), default="review", show_default=True,
        help="The highest risk that an edit may have.")  # fmt: skip
@option("-o", "--output", group="Output", type=click.Choice(("text", "wide", "json", "markdown", "policyreport")),
        default="text", show_default=True,
        help="Output format.")  # fmt: skip
@option("--write", group="Output", is_flag=True,
        help="Edit the files of -f or --source in place: workloads, and the labels of Namespaces.")  # fmt: skip
@option("--apply", "apply_", group="Output", is_flag=True, help="Set the labels and patch the workloads.")
@option("-y", "--yes", group="Output", is_flag=True, help="Apply without asking.")
@option("--report", "report_file", group="Output", metavar="FILE", help="Write an HTML report to share.")
@HISTORY
@option("--plan-out", group="Output", metavar="FILE", help="Write the plan to a file, to review and carry out later.")
@option("--plan", "plan_file", group="Output", metavar="FILE", help="Carry out exactly this plan.")
@option("--timeout", group="Rollout", default="5m", show_default=True, metavar="TIME",
        help="Longest wait for a rollout.")  # fmt: skip
@option("--parallel", group="Rollout", type=click.IntRange(1, 64), default=4, show_default=True, metavar="N",
        help="Number of namespaces to work on at a time.")  # fmt: skip
@option("--parallel-clusters", group="Rollout", type=click.IntRange(1, 16), default=1, show_default=True, metavar="N",
        help="Number of clusters that --apply --yes works on at a time.")  # fmt: skip
@option("--max-failures", group="Rollout", type=click.IntRange(1), metavar="N",
        help="Start no more namespaces after N have failed.")  # fmt: skip
@option("--trial/--no-trial", group="Rollout", default=None,
        help="Start one trial pod first. [default: if the rollout takes a pod down first]")  # fmt: skip
@option("--recreate", group="Rollout", is_flag=True, help="Delete and create Pods and Jobs, which cannot be patched.")
@option("--at-admission", group="Output", is_flag=True,
        help="Use policies for workloads that others manage; evict their old pods one by one.")  # fmt: skip
@option("--expires", group="Rollout", default="90d", show_default=True, metavar="TIME",
        help="When to review the policies of --at-admission: days, such as 90d, or a date.")  # fmt: skip
@option("--even-if-managed", group="What to change", is_flag=True,
        help="Patch workloads even if Helm, Argo CD, Flux or an operator manages them.")  # fmt: skip
@option("--team-label", group="Output", default="team", show_default=True, metavar="KEY",
        help="Label that names the team of a workload or namespace.")  # fmt: skip
@AUDIT_LOG
@option("--soak", group="Policy", metavar="TIME",
        help="Enforce only after the audit log shows no violation for this long (7d).")  # fmt: skip
@POD_PATH
@companion_options
@evidence_options
@contexts_options
@cluster_options
def migrate(
    connect: Connect,
    namespace: str | None,
    names: tuple[str, ...],
    files: tuple[str, ...],
    recursive: bool,
    write: bool,
    sources: tuple[str, ...],
    selector: str,
    all_namespaces: bool,
    exclude: tuple[str, ...],
    exclude_from: str | None,
    shard: str | None,
    level: Literal["baseline", "restricted", "highest"],
    policy_version: str | None,
    upgrade_to: str | None,
    max_risk: Risk,
    output: str,
    report_file: str | None,
    history_dir: str | None,
    plan_out: str | None,
    plan_file: str | None,
    apply_: bool,
    yes: bool,
    timeout: str,
    parallel: int,
    parallel_clusters: int,
    max_failures: int | None,
    trial: bool | None,
    recreate: bool,
    even_if_managed: bool,
    at_admission: bool,
    expires: str,
    team_label: str,
    audit_logs: tuple[str, ...],
    soak: str | None,
    pod_paths: tuple[str, ...],
    asked: Asked,
    evidence: EvidenceOptions,
    contexts: str | None,
    all_contexts: bool,
) -> int:
    """Show how far namespaces are from a level, and take them there.

    Without --apply nothing changes: a table shows what each namespace enforces, the level that its workloads
    meet now, the level that they would meet with fixes, and what holds the namespace back. With --apply, these are
    the steps for each namespace: set warn and audit; prove all fixes by server dry-runs; apply them one by one and
    watch the rollouts; judge the running pods again; set enforce once the API server has no objection. To
    continue a run that was cut off, run the same command again. The exit code is 0 when all namespaces enforce the
    level (with highest: what each can reach), 1 when some do not, 3 when something could not be read, and 4 when the
    cluster refused.

    With --source, workloads that others manage, and would set back in the cluster, are changed in checkouts of
    their repositories: each checkout gets one change set, which is proved as fix --source proves it and written by
    --write; nothing is committed. Once the commits are applied, the same command continues. Namespaces that come
    from a checkout get their labels there, and enforce only after everything that runs in them meets the level.

    With -f, the namespaces are the Namespace objects in files, and no cluster is contacted: each goes as far as its
    workloads in the same files allow. The diff shows the edits to workloads, as fix makes them, and to labels;
    --write makes them. What the files do not show (charts, patches of kustomizations, what cannot be read) keeps a
    level from being enforced, and is named. The exit code is 0 when there is nothing left to do, 1 when a diff was
    shown or something is held back, and 3 when something could not be read.

    \b
    Examples:
      kubectl harden migrate -f deploy/ -R --level highest
      kubectl harden migrate -f deploy/ -R --level highest --write
      kubectl harden migrate -A --level highest
      kubectl harden migrate shop billing --level restricted --apply
      kubectl harden migrate -l tier=web --level baseline --policy-version v1.30 --apply --max-failures 3
      kubectl harden migrate -A --level highest --upgrade-to v1.37
      kubectl harden migrate -A --level highest --plan-out plan.json --report report.html
      kubectl harden migrate --plan plan.json --apply
      kubectl harden migrate -A --contexts 'prod-*' --level highest --report report.html
      kubectl harden migrate -A --source ~/src/fleet --source ~/src/apps --write
      kubectl harden migrate ops --level restricted --at-admission --apply
    """
    from kubectl_harden.planning.options import FixOptions
    from kubectl_harden.pod_security.policy import parse_policy

    refuse_options(files, output)
    patterns = (*exclude, *(() if exclude_from is None else _patterns(exclude_from)))
    if files:
        from kubectl_harden.manifests.namespace_plans import Aim as AimOfFiles

        parse_policy("restricted" if level == "highest" else level, policy_version or "latest")
        wanted = FixOptions(max_risk, asked=asked, learn=evidence.of_files())
        only = frozenset(() if namespace is None else (namespace,))
        in_files = AimOfFiles(level, policy_version, wanted, only, patterns)
        return migrate_files(in_files, files, names, pod_paths, output, recursive=recursive, write=write)
    from kubectl_harden.live.propose import ApplyOptions
    from kubectl_harden.migration.model import Aim
    from kubectl_harden.migration.plan_file import read_plan
    from kubectl_harden.migration.selection import Selection

    if history_dir is not None and report_file is None:
        raise UsageError("--history is for --report, whose page shows it")
    clusters = chosen_contexts({"contexts": contexts, "all_contexts": all_contexts, **connect.given})
    if clusters:
        given = [("--audit-log", audit_logs), ("--source", sources), ("--write", write), ("--plan", plan_file)]
        refused = [name for name, value in given if value]
        if refused:
            raise UsageError(f"{refused[0]} is of one cluster: name it by --context")
    if parallel_clusters > 1:
        _may_be_parallel(apply=apply_, yes=yes, several=bool(clusters))
    limit = seconds(timeout, "--timeout")
    day = expiry(expires) if at_admission else ""
    may_ask(apply_, yes)
    if soak is not None and not audit_logs:
        raise UsageError("--soak is about what an audit log shows: give it with --audit-log")
    soaked = None if soak is None else soaked_for(soak)
    audit = audit_log_of(audit_logs, soaked)
    plan = read_plan(plan_file) if plan_file is not None else None
    if plan is not None:
        _only_with_plan(carried_out=apply_ or write, plan_out=plan_out)
        sources = sources or (plan.sources if write else ())
        aim = plan.aim._replace(team_label=team_label)
        names = names or tuple(plan.namespaces)
        for name in names:
            if name not in plan.namespaces:
                raise UsageError(f'--plan {plan_file} has no namespace "{name}"')
    else:
        parse_policy("restricted" if level == "highest" else level, policy_version or "latest")
        allowed = ApplyOptions(recreate, even_if_managed, trial)
        paths = pod_paths_of(pod_paths, project_of())
        aim = Aim(
            level, policy_version, FixOptions(max_risk, asked=asked), allowed, paths, team_label, at_admission=day
        )
        if namespace is not None:
            names = (*names, namespace)
    upgrade = None if upgrade_to is None else upgrade_minor(upgrade_to)
    aim = aim._replace(detailed=bool(plan_out or report_file), upgrade=upgrade)
    if sum((bool(names), bool(selector), all_namespaces)) != 1:
        raise UsageError("name the namespaces, or select them with -l SELECTOR or -A")
    checkouts = None
    if sources and at_admission:
        raise UsageError("--at-admission does not change what others manage, and --source does: use one of them")
    if sources or write:
        from kubectl_harden.cli.migrate_source import checkouts_of

        checkouts = checkouts_of(sources, aim)
        aim = aim._replace(labels_file=checkouts.labels_file)
    run = Run(
        aim,
        Selection(names, selector, patterns, _shard(shard)),
        evidence,
        output in ("text", "wide"),
        output == "wide",
        apply_,
        yes,
        limit,
        parallel,
        max_failures,
        write,
        plan,
        plan_out,
        audit,
        soaked,
        checkouts,
        sources,
    )
    refuse_history(history_dir)
    if clusters:
        return migrate_all(clusters, connect, run, AskedOfAll(output, report_file, history_dir, parallel_clusters))
    server, context = (None, None) if plan is None else (plan.server, plan.context)
    cluster = made_on(connect, server, context, "the plan was made {place}, and is carried out there")
    about = about_migration(cluster.connection, history_dir, names)
    result, interrupted = run_on(cluster, run, CarryOut(run))
    history = write_report(report_file, result, about) if report_file is not None else None
    if output in OUTPUTS:
        OUTPUTS[output](result)
    sum_up(result)
    keep(history)
    if interrupted:
        return INTERRUPTED
    return exit_code(result.problems, left=is_left(result))


def _only_with_plan(*, carried_out: bool, plan_out: str | None) -> None:
    context = click.get_current_context()
    fixed = {
        "level": "--level",
        "policy_version": "--policy-version",
        "max_risk": "--max-risk",
        "trial": "--trial",
        "recreate": "--recreate",
        "even_if_managed": "--even-if-managed",
        "at_admission": "--at-admission",
        "expires": "--expires",
        "pod_paths": "--pod-path",
        "run_as_user": "--run-as-user",
        "user_namespace": "--user-namespace",
        "fs_group": "--fs-group",
        "low_ports": "--low-ports",
        "always_low_ports": "--always-low-ports",
        "writable": "--writable",
        "recorded_seccomp": "--recorded-seccomp",
        "selector": "-l",
        "all_namespaces": "-A",
        "namespace": "-n",
    }
    default = click.core.ParameterSource.DEFAULT
    given = [option for name, option in fixed.items() if context.get_parameter_source(name) is not default]
    if given:
        raise UsageError(f"--plan is carried out exactly as written: leave out {', '.join(given)}")
    if plan_out is not None:
        raise UsageError("--plan carries out a plan and --plan-out makes one: use one of them")
    if not carried_out:
        raise UsageError(
            "--plan needs --apply, or --write for checkouts; to see what there is to do, leave out all of them"
        )


def _may_be_parallel(*, apply: bool, yes: bool, several: bool) -> None:
    if not several:
        raise UsageError("--parallel-clusters is for several clusters: name them by --contexts or --all-contexts")
    if not apply:
        raise UsageError("--parallel-clusters is for --apply; surveys are made side by side without it")
    if not yes:
        raise UsageError("--parallel-clusters needs --yes: questions about several clusters at a time cannot be asked")


def _patterns(file: str) -> tuple[str, ...]:
    from kubectl_harden.text_files import read_text

    try:
        lines = read_text(file).removeprefix("\ufeff").splitlines()
    except InputError as error:
        raise InputError(f"{file}: {error.args[0]}") from None
    words = [line.partition("#")[0].strip() for line in lines]
    return tuple(word for word in words if word)


def _shard(text: str | None) -> tuple[int, int] | None:
    """Return (index, count) for INDEX/COUNT, or for COUNT with the index that an Indexed Job gives its pods."""
    if text is None:
        return None
    match = re.fullmatch(r"(?:(\d+)/)?(\d+)", text)
    if match is None:
        raise UsageError(f'--shard "{text}": write INDEX/COUNT, such as 0/10, or COUNT in an Indexed Job')
    index = match[1] if match[1] is not None else os.environ.get("JOB_COMPLETION_INDEX", "")
    if not index.isdecimal():
        raise UsageError(f"--shard {text}: which share? Write INDEX/COUNT; JOB_COMPLETION_INDEX is not set")
    if not int(index) < int(match[2]):
        raise UsageError(f"--shard {text}: the shares of {match[2]} are 0 to {int(match[2]) - 1}, and not {index}")
    return int(index), int(match[2])
