"""The command ``migrate``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from itertools import count
from threading import Event
from typing import TYPE_CHECKING, Final, Literal

import click

from kubectl_harden.cli import completing
from kubectl_harden.cli.apply import may_ask
from kubectl_harden.cli.at_admission import expiry
from kubectl_harden.cli.audit_log import AUDIT_LOG, read
from kubectl_harden.cli.codes import INTERRUPTED, exit_code
from kubectl_harden.cli.connect import seconds
from kubectl_harden.cli.evidence import EvidenceOptions, companion_options, evidence_options
from kubectl_harden.cli.groups import option
from kubectl_harden.cli.migrate_files import migrate_files, refuse_options
from kubectl_harden.cli.migrate_results import (
    OUTPUTS,
    Result,
    is_left,
    show,
    sum_up,
    write_plan_file,
    write_report,
)
from kubectl_harden.cli.options import POD_PATH, Command, cluster_options, pod_paths_of, project_of
from kubectl_harden.cli.parallel import Parallel
from kubectl_harden.cli.resume import resume_cut_off
from kubectl_harden.errors import ClusterError, InputError, UsageError
from kubectl_harden.model import RISKS

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.live.in_force import PoliciesInForce
    from kubectl_harden.live.journal import Journal
    from kubectl_harden.migration.migrate import Migrated
    from kubectl_harden.migration.model import Aim, NamespaceSurvey, Survey
    from kubectl_harden.migration.plan_file import MigrationPlan
    from kubectl_harden.migration.selection import Chosen, Selection
    from kubectl_harden.model import Problem, Risk
    from kubectl_harden.planning.companions import Asked

__all__ = ["migrate"]

_INTERRUPTED: Final = (
    "interrupted: each namespace finishes the step that it is in; once more, and it waits for no rollout\n"
)
_FEW: Final = 5
"""Of so many namespaces the blockers are shown object by object."""


@click.command(cls=Command, short_help="Take namespaces to a level, step by step.")
@click.argument("names", nargs=-1, metavar="[NAMESPACE]...", shell_complete=completing.namespaces)
@option("-f", "--filename", "files", group="Targets", multiple=True, metavar="FILE|DIR|-",
        type=click.Path(allow_dash=True),
        help="Namespaces and workloads of files, instead of a cluster's.")  # fmt: skip
@option("-R", "--recursive", group="Targets", is_flag=True, help="Look into the subdirectories of directories.")
@option("-l", "--selector", group="Targets", default="", metavar="SELECTOR", help="Label selector of namespaces.")
@option("-A", "--all-namespaces", group="Targets", is_flag=True, help="All namespaces but Kubernetes' own.")
@option("--exclude", group="Targets", multiple=True, metavar="PATTERN",
        help="Leave out namespaces; * and ? stand for any.")  # fmt: skip
@option("--exclude-from", group="Targets", metavar="FILE", help="A file with a pattern to leave out on each line.")
@option("--shard", group="Targets", metavar="[INDEX/]COUNT",
        help="Work on one of COUNT shares. [default INDEX: $JOB_COMPLETION_INDEX]")  # fmt: skip
@option("--level", group="Policy", type=click.Choice(("baseline", "restricted", "highest")), default="restricted",
        show_default=True,
        help="What to enforce; highest: as far as each namespace can go.")  # fmt: skip
@option("--policy-version", group="Policy", metavar="VERSION",
        help="Policy version to pin. [default: as the namespace has it]")  # fmt: skip
@option("--max-risk", group="What to change", type=click.Choice(RISKS), default="review", show_default=True,
        help="The highest risk of edits to make.")  # fmt: skip
@option("-o", "--output", group="Output", type=click.Choice(("text", "wide", "json", "markdown", "policyreport")),
        default="text", show_default=True,
        help="Output format.")  # fmt: skip
@option("--write", group="Output", is_flag=True,
        help="Edit the files in place: workloads, and the labels of Namespaces.")  # fmt: skip
@option("--apply", "apply_", group="Output", is_flag=True, help="Set the labels and patch the workloads.")
@option("-y", "--yes", group="Output", is_flag=True, help="Apply without asking.")
@option("--report", "report_file", group="Output", metavar="FILE", help="Write a page to show around (HTML).")
@option("--plan-out", group="Output", metavar="FILE", help="Write the plan, to be reviewed and carried out later.")
@option("--plan", "plan_file", group="Output", metavar="FILE", help="Carry out exactly this plan.")
@option("--timeout", group="Rollout", default="5m", show_default=True, metavar="TIME",
        help="Longest wait for a rollout.")  # fmt: skip
@option("--parallel", group="Rollout", type=click.IntRange(1, 64), default=4, show_default=True, metavar="N",
        help="Namespaces to work on at a time.")  # fmt: skip
@option("--max-failures", group="Rollout", type=click.IntRange(1), metavar="N",
        help="Begin no more after N namespaces failed.")  # fmt: skip
@option("--trial/--no-trial", group="Rollout", default=None,
        help="Start one new pod beside the app first. [default: where a pod is taken down first]")  # fmt: skip
@option("--recreate", group="Rollout", is_flag=True, help="Delete and create Pods and Jobs, which cannot be patched.")
@option("--at-admission", group="Output", is_flag=True,
        help="Policies for new pods of what others write; old pods are evicted one by one.")  # fmt: skip
@option("--expires", group="Rollout", default="90d", show_default=True, metavar="TIME",
        help="When to look at the policies again: 90d, or a date.")  # fmt: skip
@option("--even-if-managed", group="What to change", is_flag=True,
        help="Patch what Helm, Argo CD, Flux or an operator manages.")  # fmt: skip
@option("--team-label", group="Output", default="team", show_default=True, metavar="KEY",
        help="The label that names the team of a workload or namespace.")  # fmt: skip
@AUDIT_LOG
@option("--soak", group="Policy", metavar="TIME",
        help="Enforce only what the audit log shows nothing against for so long (7d).")  # fmt: skip
@POD_PATH
@companion_options
@evidence_options
@cluster_options
def migrate(
    connect: Callable[[], Cluster],
    namespace: str | None,
    names: tuple[str, ...],
    files: tuple[str, ...],
    recursive: bool,
    write: bool,
    selector: str,
    all_namespaces: bool,
    exclude: tuple[str, ...],
    exclude_from: str | None,
    shard: str | None,
    level: Literal["baseline", "restricted", "highest"],
    policy_version: str | None,
    max_risk: Risk,
    output: str,
    report_file: str | None,
    plan_out: str | None,
    plan_file: str | None,
    apply_: bool,
    yes: bool,
    timeout: str,
    parallel: int,
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
) -> int:
    """Show how far namespaces are from a level, and take them there.

    Without --apply nothing changes: a table shows what each namespace enforces, the level that its workloads
    meet now, the level that fixes would lift them to, and what holds it back. With --apply, in each namespace:
    warn and audit are set; all fixes are proved by server dry-runs, then applied one by one with watched
    rollouts; the pods that run are judged again; enforce is set once the API server itself has nothing to say
    against it. A run that was cut off is carried on by the same command. The exit code is 0 when all
    namespaces enforce the level (highest: what each can reach), 1 when some do not, 3 when something could not be
    read, 4 when the cluster refused.

    With -f it is the Namespace objects of files, and nothing asks a cluster: each goes as far as its workloads in
    the same files allow. The diff has the edits of workloads, as fix makes them, and of labels; --write makes them.
    What the files do not show (charts, patches of kustomizations, what cannot be read) keeps a level from being
    enforced, and is named. The exit code is 0 when nothing is left to do, 1 when a diff was shown or something is
    held back, 3 when something could not be read.

    \b
    Examples:
      kubectl harden migrate -f deploy/ -R --level highest
      kubectl harden migrate -f deploy/ -R --level highest --write
      kubectl harden migrate -A --level highest
      kubectl harden migrate shop billing --level restricted --apply
      kubectl harden migrate -l tier=web --level baseline --policy-version v1.30 --apply --max-failures 3
      kubectl harden migrate -A --level highest --plan-out plan.json --report report.html
      kubectl harden migrate --plan plan.json --apply
      kubectl harden migrate ops --level restricted --at-admission --apply
    """
    from kubectl_harden.planning.options import FixOptions
    from kubectl_harden.pod_security.policy import parse_policy

    refuse_options(files, output)
    patterns = (*exclude, *(_patterns(exclude_from) if exclude_from else ()))
    if files:
        from kubectl_harden.manifests.namespace_plans import Aim as AimOfFiles

        parse_policy("restricted" if level == "highest" else level, policy_version or "latest")
        wanted = FixOptions(max_risk, asked=asked, learn=evidence.of_files())
        only = frozenset(() if namespace is None else (namespace,))
        in_files = AimOfFiles(level, policy_version, wanted, only, patterns)
        return migrate_files(in_files, files, names, pod_paths, output, recursive=recursive, write=write)
    from kubectl_harden.live.evaluations import evaluations_note
    from kubectl_harden.live.in_force import PoliciesInForce
    from kubectl_harden.live.origin import Origins
    from kubectl_harden.live.propose import ApplyOptions
    from kubectl_harden.migration.model import Aim, Soak
    from kubectl_harden.migration.plan_file import read_plan
    from kubectl_harden.migration.selection import Selection
    from kubectl_harden.reports.output import note

    limit = seconds(timeout, "--timeout")
    day = expiry(expires) if at_admission else ""
    may_ask(apply_, yes)
    if soak is not None and not audit_logs:
        raise UsageError("--soak is about what an audit log shows: give it with --audit-log")
    soaked = None if soak is None else seconds(soak, "--soak")
    audit = read(audit_logs)
    plan = read_plan(plan_file) if plan_file is not None else None
    if plan is not None:
        _only_with_plan(apply_=apply_, plan_out=plan_out)
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
    aim = aim._replace(detailed=bool(plan_out or report_file))
    if sum((bool(names), bool(selector), all_namespaces)) != 1:
        raise UsageError("name the namespaces, or select them by -l SELECTOR, or take all by -A")
    cluster = connect()
    selection = Selection(names, selector, patterns, _shard(shard))
    notes: list[str] = []
    namespaced = aim.fix.asked.user_namespace is not None
    learn = evidence.of_cluster(cluster, notes, whole=True, recorded=True, namespaced=namespaced)
    aim = aim._replace(fix=aim.fix._replace(learn=learn), origins=Origins(cluster))
    # Asked before our own dry-runs count.
    evaluations = evaluations_note(cluster)
    notes += [] if evaluations is None else [evaluations]
    policies = PoliciesInForce(cluster)
    came = None if audit is None else audit.by_namespace(cluster, names, aim.pod_paths, notes)
    if audit is not None and came is not None:
        aim = aim._replace(soak=Soak(audit.span, came, soaked, audit.others))
    chosen, found, problems = _survey(policies, selection, aim, plan, apply=apply_, yes=yes, limit=limit)
    if output in ("text", "wide"):
        wide = output == "wide"
        show(found, detailed=wide or (len(found.namespaces) <= _FEW and not apply_), wide=wide)
        if audit is not None and came is not None:
            audit.show([item for one in found.namespaces for item in came.get(one.name, ())], cluster)
    if audit is not None:
        audit.note()
    for words in (*chosen.notes, *found.notes, *notes):
        note(words)
    if plan_out is not None:
        write_plan_file(plan_out, found, aim, cluster)
    done: list[Migrated] = []
    interrupted = False
    undo = ""
    if apply_:
        from kubectl_harden.live.journal import Journal

        journal = Journal(command="migrate", server=cluster.connection.server, context=cluster.connection.context)
        done, interrupted = _carry_out(
            policies, journal, found, aim, plan, yes=yes, limit=limit, parallel=parallel, max_failures=max_failures
        )
        undo = cluster.connection.commands.harden("undo", journal.run) if journal.used else ""
        problems += _failures(done, journal)
    result = Result(cluster, aim, found, done, problems, undo, apply_)
    if report_file is not None:
        write_report(report_file, result)
    if output in OUTPUTS:
        OUTPUTS[output](result)
    sum_up(result)
    if interrupted:
        return INTERRUPTED
    return exit_code(problems, left=is_left(result))


def _only_with_plan(*, apply_: bool, plan_out: str | None) -> None:
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
        raise UsageError(f"--plan is carried out as it is: leave out {', '.join(given)}")
    if plan_out is not None:
        raise UsageError("--plan carries a plan out and --plan-out makes one: give one of them")
    if not apply_:
        raise UsageError("--plan is carried out with --apply; to see what is to be done leave both out")


def _patterns(file: str) -> tuple[str, ...]:
    from kubectl_harden.text_files import read_text

    try:
        lines = read_text(file).removeprefix("\ufeff").splitlines()
    except InputError as error:
        raise InputError(f"{file}: {error.args[0]}") from None
    words = [line.partition("#")[0].strip() for line in lines]
    return tuple(word for word in words if word)


def _shard(text: str | None) -> tuple[int, int] | None:
    """Return (index, count) of INDEX/COUNT, or of COUNT with the index that an Indexed Job gives its pods."""
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


# -- survey ------------------------------------------------------------------------------------------


def _survey(
    policies: PoliciesInForce,
    selection: Selection,
    aim: Aim,
    plan: MigrationPlan | None,
    *,
    apply: bool,
    yes: bool,
    limit: float,
) -> tuple[Chosen, Survey, list[Problem]]:
    """Survey; with ``apply`` check the permissions first. Raises ClusterError where some are missing."""
    from kubectl_harden.live.at_admission import served_version
    from kubectl_harden.live.find import Finder, problem
    from kubectl_harden.migration.by_policy import permissions
    from kubectl_harden.migration.selection import choose, missing_permissions, needed_permissions
    from kubectl_harden.migration.survey import survey
    from kubectl_harden.pod_security.namespace_labels import PolicyChoice
    from kubectl_harden.reports.output import note, report_problems
    from kubectl_harden.reports.progress import Words

    cluster = policies.cluster
    if plan is not None and plan.server != cluster.connection.server:
        note(f"the plan was made on {plan.server}, and this is {cluster.connection.server}")
    with Words() as words:
        policies_of = permissions(served_version(cluster)) if aim.at_admission else []
        words("reading the namespaces")
        chosen = choose(cluster, selection)
        if apply:
            words("asking for permissions")
            finder = Finder(cluster, PolicyChoice(), aim.pod_paths)
            needed = [*needed_permissions(finder.custom_workloads()), *policies_of]
            missing = missing_permissions(cluster, needed, None if chosen.at_once else chosen.namespaces)
            if missing:
                report_problems([problem(ClusterError(f"not allowed to {what} (RBAC)")) for what in missing])
                raise ClusterError("permissions are missing: nothing was begun")
    lost = resume_cut_off(cluster, chosen.namespaces.__contains__, apply=apply, yes=yes, seconds=limit)
    with Words() as words:
        found = survey(policies, chosen.namespaces, aim, at_once=chosen.at_once, report=words)
    problems = [*chosen.problems, *found.problems]
    report_problems(problems)
    problems += lost
    return chosen, found, problems


# -- carrying out --------------------------------------------------------------------------------------


def _carry_out(
    policies: PoliciesInForce,
    journal: Journal,
    found: Survey,
    aim: Aim,
    plan: MigrationPlan | None,
    *,
    yes: bool,
    limit: float,
    parallel: int,
    max_failures: int | None,
) -> tuple[list[Migrated], bool]:
    """Ask, and take namespaces to their goals; returns what became of them and whether Ctrl-C ended it."""
    from kubectl_harden.live.journal import unfollowed
    from kubectl_harden.migration.migrate import Migrated, Migrator
    from kubectl_harden.migration.plan_file import drift
    from kubectl_harden.reports.matrix import migrated_lines
    from kubectl_harden.reports.progress import Progress
    from kubectl_harden.reports.terminal import width

    done = {
        item.name: Migrated(item.name, "done", found=item, blockers=item.blockers, labels=item.labels)
        for item in found.namespaces
        if item.state == "done"
    }
    todo = [item for item in found.namespaces if item.state != "done"]
    if todo and not yes and not _agreed(found, policies.cluster):
        return [*done.values(), *(Migrated(item.name, "stopped", "not confirmed", item) for item in todo)], False
    halt, stop, columns = Event(), Event(), width(2)
    with Progress(len(todo), "namespaces", steps=False) as display:
        migrator = Migrator(
            policies,
            journal,
            aim,
            seconds=limit,
            report=display.report,
            halt=halt,
            stop=stop,
            drift=None if plan is None else lambda now, proposals: drift(plan.namespaces[now.name], now, proposals),
            cut_off=unfollowed(),
        )
        failures, enough = count(1), Event()

        def work(item: NamespaceSurvey) -> Migrated:
            if enough.is_set():
                return Migrated(item.name, "stopped", "not begun")
            outcome = migrator.carry_out(item.name)
            if outcome.failed and next(failures) == max_failures:
                enough.set()
            return outcome

        def ended(outcome: Migrated) -> None:
            done[outcome.name] = outcome
            lines = migrated_lines(outcome, columns=columns) if outcome.begun else ()
            display.finish(outcome.name, "".join(lines))

        def interrupted() -> None:
            display.say(_INTERRUPTED)

        signalled = Parallel(parallel, (halt, stop), interrupted)(todo, work, ended)
    return [done[item.name] for item in found.namespaces], signalled


def _agreed(found: Survey, cluster: Cluster) -> bool:
    from kubectl_harden.reports.output import ask
    from kubectl_harden.reports.terminal import counted

    reached = [item for item in found.namespaces if item.state in ("ready", "fixable")]
    to_fix = [item.proposal.by_policy for namespace in reached for item in namespace.to_fix]
    created = sum(map(bool, to_fix))
    fixes = len(to_fix) - created
    pods = sum(len(item.to_evict) for item in reached)
    blocked = sum(item.state == "blocked" for item in found.namespaces)
    parts = []
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


def _failures(done: Sequence[Migrated], journal: Journal) -> list[Problem]:
    from kubectl_harden.model import Problem

    # A rollout that was rolled back is the workload's fault, not the cluster's.
    problems = [
        Problem(f"namespace {item.name}: {item.message}", refused=True, namespace=item.name)
        for item in done
        if item.state == "failed" and not item.blockers
    ]
    if journal.trouble is not None:
        from kubectl_harden.reports.output import report_problems

        trouble = Problem(f"{journal.trouble}: not all that was done is written down")
        report_problems([trouble])
        problems.append(trouble)
    return problems
