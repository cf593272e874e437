"""A run of ``migrate`` on one cluster: survey, carry out, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from threading import Event
from typing import TYPE_CHECKING, Final, NamedTuple

from kubectl_harden.cli.audit_log import AuditLog
from kubectl_harden.cli.evidence import EvidenceOptions
from kubectl_harden.cli.migrate_results import Result, agreed, show, show_changes, show_upgrade, write_plan_file
from kubectl_harden.cli.parallel import Parallel
from kubectl_harden.cli.resume import resume_cut_off
from kubectl_harden.errors import ClusterError

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.live.in_force import PoliciesInForce
    from kubectl_harden.live.journal import Journal
    from kubectl_harden.migration.at_source import Checkouts
    from kubectl_harden.migration.migrate import Migrated
    from kubectl_harden.migration.model import Aim, NamespaceSurvey, Survey
    from kubectl_harden.migration.plan_file import MigrationPlan
    from kubectl_harden.migration.selection import Chosen, Selection
    from kubectl_harden.model import Problem

__all__ = ["Run", "run_on"]

_INTERRUPTED: Final = (
    "interrupted: each namespace finishes its current step; interrupt again to stop waiting for rollouts\n"
)
_FEW: Final = 5
"""Of so many namespaces the blockers are shown object by object."""


class Run(NamedTuple):
    """What is asked of a cluster: see the options of ``migrate``. ``text`` and ``wide`` say what is shown of it."""

    aim: Aim
    selection: Selection
    evidence: EvidenceOptions
    text: bool
    wide: bool
    apply: bool
    yes: bool
    limit: float
    parallel: int
    max_failures: int | None
    write: bool = False
    plan: MigrationPlan | None = None
    plan_out: str | None = None
    audit: AuditLog | None = None
    soaked: float | None = None
    checkouts: Checkouts | None = None
    sources: tuple[str, ...] = ()


def run_on(cluster: Cluster, run: Run) -> tuple[Result, bool]:
    """Survey a cluster, show what is found, and carry it out if that is asked; tell whether Ctrl-C ended it.

    Raises ClusterError where the survey cannot be made, and where permissions are missing.
    """
    from kubectl_harden.cli.migrate_source import source_changes
    from kubectl_harden.live.evaluations import evaluations_note
    from kubectl_harden.live.in_force import PoliciesInForce
    from kubectl_harden.live.origin import Origins
    from kubectl_harden.migration.model import Soak
    from kubectl_harden.reports.output import note, report_problems

    aim, audit = run.aim, run.audit
    notes: list[str] = []
    namespaced = aim.fix.asked.user_namespace is not None
    learn = run.evidence.of_cluster(cluster, notes, whole=True, recorded=True, namespaced=namespaced)
    aim = aim._replace(fix=aim.fix._replace(learn=learn), origins=Origins(cluster))
    # Asked before our own dry-runs count.
    evaluations = evaluations_note(cluster)
    notes += [] if evaluations is None else [evaluations]
    policies = PoliciesInForce(cluster)
    came = None if audit is None else audit.by_namespace(cluster, run.selection.names, aim.pod_paths, notes)
    if audit is not None and came is not None:
        aim = aim._replace(soak=Soak(audit.span, came, run.soaked, audit.others))
    chosen, found, problems = _survey(policies, aim, run)
    if run.text:
        show(found, detailed=run.wide or (len(found.namespaces) <= _FEW and not run.apply), wide=run.wide)
        if audit is not None and came is not None:
            audit.show([item for one in found.namespaces for item in came.get(one.name, ())], cluster)
        if aim.upgrade is not None:
            show_upgrade(found, aim.upgrade)
    if audit is not None:
        audit.note()
    for words in (*chosen.notes, *found.notes, *notes):
        note(words)
    changes = None
    if run.checkouts is not None:
        planned = None if run.plan is None else run.plan.files
        changes, more = source_changes(policies, found, aim, run.checkouts, planned, write=run.write)
        report_problems(more)
        problems += more
        if run.text:
            show_changes(changes)
    if run.plan_out is not None:
        write_plan_file(run.plan_out, found, aim, cluster, changes, run.sources)
    done: list[Migrated] = []
    interrupted = False
    undo = ""
    if run.apply:
        from kubectl_harden.live.journal import Journal

        journal = Journal(command="migrate", server=cluster.connection.server, context=cluster.connection.context)
        done, interrupted = _carry_out(policies, journal, found, aim, run)
        undo = cluster.connection.commands.harden("undo", journal.run) if journal.used else ""
        problems += _failures(done, journal)
    return Result(cluster, aim, found, done, problems, undo, run.apply, changes), interrupted


# -- survey ------------------------------------------------------------------------------------------


def _survey(policies: PoliciesInForce, aim: Aim, run: Run) -> tuple[Chosen, Survey, list[Problem]]:
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
    if run.plan is not None and run.plan.server != cluster.connection.server:
        note(f"the plan was made on {run.plan.server}, and this is {cluster.connection.server}")
    with Words() as words:
        policies_of = permissions(served_version(cluster)) if aim.at_admission else []
        words("reading the namespaces")
        chosen = choose(cluster, run.selection)
        if run.apply:
            words("asking for permissions")
            finder = Finder(cluster, PolicyChoice(), aim.pod_paths)
            needed = [*needed_permissions(finder.custom_workloads()), *policies_of]
            missing = missing_permissions(cluster, needed, None if chosen.at_once else chosen.namespaces)
            if missing:
                report_problems([problem(ClusterError(f"not allowed to {what} (RBAC)")) for what in missing])
                raise ClusterError("permissions are missing: nothing was started")
    lost = resume_cut_off(cluster, chosen.namespaces.__contains__, apply=run.apply, yes=run.yes, seconds=run.limit)
    with Words() as words:
        found = survey(policies, chosen.namespaces, aim, at_once=chosen.at_once, report=words)
    problems = [*chosen.problems, *found.problems]
    report_problems(problems)
    problems += lost
    return chosen, found, problems


# -- carrying out --------------------------------------------------------------------------------------


def _carry_out(
    policies: PoliciesInForce, journal: Journal, found: Survey, aim: Aim, run: Run
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
    plan = run.plan
    todo = [item for item in found.namespaces if item.state != "done"]
    if todo and not run.yes and not agreed(found, policies.cluster):
        return [*done.values(), *(Migrated(item.name, "stopped", "not confirmed", item) for item in todo)], False
    halt, stop, columns = Event(), Event(), width(2)
    with Progress(len(todo), "namespaces", steps=False) as display:
        migrator = Migrator(
            policies,
            journal,
            aim,
            seconds=run.limit,
            report=display.report,
            halt=halt,
            stop=stop,
            drift=None if plan is None else lambda now, proposals: drift(plan.namespaces[now.name], now, proposals),
            cut_off=unfollowed(),
        )
        failures, enough = count(1), Event()

        def work(item: NamespaceSurvey) -> Migrated:
            if enough.is_set():
                return Migrated(item.name, "stopped", "not started")
            outcome = migrator.carry_out(item.name)
            if outcome.failed and next(failures) == run.max_failures:
                enough.set()
            return outcome

        def ended(outcome: Migrated) -> None:
            done[outcome.name] = outcome
            lines = migrated_lines(outcome, columns=columns) if outcome.begun else ()
            display.finish(outcome.name, "".join(lines))

        def interrupted() -> None:
            display.say(_INTERRUPTED)

        signalled = Parallel(run.parallel, (halt, stop), interrupted)(todo, work, ended)
    return [done[item.name] for item in found.namespaces], signalled


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

        trouble = Problem(f"{journal.trouble}: the journal does not have everything that was done")
        report_problems([trouble])
        problems.append(trouble)
    return problems
