"""A run of ``migrate`` on a cluster: survey, changes, and outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
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
    from kubectl_harden.live.audited import Traced
    from kubectl_harden.live.in_force import PoliciesInForce
    from kubectl_harden.live.journal import Journal
    from kubectl_harden.migration.at_source import Checkouts
    from kubectl_harden.migration.migrate import Migrated
    from kubectl_harden.migration.model import Aim, NamespaceSurvey, Survey
    from kubectl_harden.migration.plan_file import MigrationPlan
    from kubectl_harden.migration.selection import Selection
    from kubectl_harden.model import Problem
    from kubectl_harden.reports.progress import Progress

__all__ = ["INTERRUPTED_WORDS", "CarryOut", "Each", "Findings", "Run", "found_on", "run_on", "show_findings"]

Each = Callable[
    [Sequence["NamespaceSurvey"], Callable[["NamespaceSurvey"], "Migrated"], Callable[["Migrated"], None]], bool
]
"""Does work for each namespace, passes on the outcomes, and returns whether Ctrl-C ended it."""

INTERRUPTED_WORDS: Final = (
    "interrupted: each namespace finishes its current step; interrupt again to stop waiting for rollouts\n"
)
_FEW: Final = 5
"""For up to this many namespaces, the blockers are shown object by object."""


class Run(NamedTuple):
    """What to do on a cluster: see the options of ``migrate``. ``text`` and ``wide`` say what is shown."""

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


class Findings(NamedTuple):
    """What was found on a cluster, before any of it is shown; ``came`` is what its audit log shows, by namespace."""

    policies: PoliciesInForce
    aim: Aim
    survey: Survey
    problems: list[Problem]
    notes: list[str]
    came: Mapping[str, list[Traced]] | None

    @property
    def cluster(self) -> Cluster:
        """The cluster."""
        return self.policies.cluster


def run_on(cluster: Cluster, run: Run, carry_out: CarryOut, name: str = "") -> tuple[Result, bool]:
    """Survey a cluster, show what is found, and carry it out if asked to; returns whether Ctrl-C ended it.

    ``name`` is that of the cluster where there are several. Raises ClusterError where the survey cannot be made, and
    where permissions are missing.
    """
    from kubectl_harden.cli.migrate_source import source_changes
    from kubectl_harden.reports.output import line, note, report_problems
    from kubectl_harden.reports.progress import Progress, Words

    if run.plan is not None and run.plan.server != cluster.connection.server:
        note(f"the plan was made on {run.plan.server}, and this is {cluster.connection.server}")
    found = found_on(cluster, run, Words, line)
    show_findings(found, run, name)
    changes = None
    if run.checkouts is not None:
        planned = None if run.plan is None else run.plan.files
        changes, more = source_changes(found.policies, found.survey, found.aim, run.checkouts, planned, write=run.write)
        report_problems(more)
        found.problems.extend(more)
        if run.text:
            show_changes(changes)
    if run.plan_out is not None:
        write_plan_file(run.plan_out, found.survey, found.aim, cluster, changes, run.sources)
    if not run.apply:
        return Result(cluster, found.aim, found.survey, (), found.problems, "", applied=False, changes=changes), False
    todo = carry_out.todo(found)
    if todo and not run.yes and not agreed(found.survey, cluster):
        return carry_out.declined(found)._replace(changes=changes), False
    with Progress(len(todo), "namespaces", steps=False) as display:
        each = Parallel(run.parallel, carry_out.stages, lambda: display.say(INTERRUPTED_WORDS))
        result, interrupted = carry_out(found, display, each)
    return result._replace(changes=changes), interrupted


# -- survey ------------------------------------------------------------------------------------------


def found_on(
    cluster: Cluster,
    run: Run,
    progress: Callable[[], AbstractContextManager[Callable[[str], None]]],
    say: Callable[[str], None],
) -> Findings:
    """Survey a cluster; to ``apply``, check the permissions first, and recreate what killed runs have deleted.

    ``progress`` gets a few words now and then, ``say`` gets lines that stay. Raises ClusterError where the survey
    cannot be made, and where permissions are missing.
    """
    from kubectl_harden.live.at_admission import served_version
    from kubectl_harden.live.evaluations import evaluations_note
    from kubectl_harden.live.find import Finder
    from kubectl_harden.live.in_force import PoliciesInForce
    from kubectl_harden.live.origin import Origins
    from kubectl_harden.migration.by_policy import permissions
    from kubectl_harden.migration.model import Soak
    from kubectl_harden.migration.selection import choose, missing_permissions, needed_permissions
    from kubectl_harden.migration.survey import survey
    from kubectl_harden.pod_security.namespace_labels import PolicyChoice

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
    with progress() as report:
        policies_of = permissions(served_version(cluster)) if aim.at_admission else []
        report("reading the namespaces")
        chosen = choose(cluster, run.selection)
        if run.apply:
            report("asking for permissions")
            finder = Finder(cluster, PolicyChoice(), aim.pod_paths)
            needed = [*needed_permissions(finder.custom_workloads()), *policies_of]
            missing = missing_permissions(cluster, needed, None if chosen.at_once else chosen.namespaces)
            if missing:
                for what in missing:
                    say(f"error: not allowed to {what} (RBAC)")
                raise ClusterError("permissions are missing: nothing was started")
    takes = chosen.namespaces.__contains__
    lost = resume_cut_off(cluster, takes, say, apply=run.apply, yes=run.yes, seconds=run.limit)
    with progress() as report:
        found = survey(policies, chosen.namespaces, aim, at_once=chosen.at_once, report=report)
    if audit is not None and run.soaked is None:
        notes += _unseen(found)
    problems = [*chosen.problems, *found.problems, *lost]
    return Findings(policies, aim, found, problems, [*chosen.notes, *found.notes, *notes], came)


def _unseen(found: Survey) -> Iterator[str]:
    """Yield that the audit log cannot show what violates the level, where --soak does not say so."""
    from kubectl_harden.live.audited import logged_modes
    from kubectl_harden.reports.audit_log import unseen_notes

    raised = (item for item in found.namespaces if item.enforce_labels)
    return unseen_notes([item.name for item in raised if not logged_modes(item.in_force.modes, item.goal)])


def show_findings(found: Findings, run: Run, name: str = "") -> None:
    """Print what was found on a cluster, by its name where there are several."""
    from kubectl_harden.reports.output import note, report_problems

    report_problems([item._replace(cluster=name) for item in found.problems])
    if run.text:
        few = len(found.survey.namespaces) <= _FEW and not run.apply
        show(found.survey, detailed=run.wide or few, wide=run.wide)
        if run.audit is not None and found.came is not None:
            came = [item for one in found.survey.namespaces for item in found.came.get(one.name, ())]
            run.audit.show(came, found.cluster)
        if found.aim.upgrade is not None:
            show_upgrade(found.survey, found.aim.upgrade)
    if run.audit is not None:
        run.audit.note()
    for words in found.notes:
        note(f"{name}: {words}" if name else words)


# -- carrying out --------------------------------------------------------------------------------------


class CarryOut:
    """Takes namespaces to their goals, cluster by cluster; threads may share it.

    The failures of all clusters count for --max-failures; ``enough`` tells that no namespace is started any more.
    ``stages`` are what each Ctrl-C sets (see Parallel).
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._halt, self._stop, self._enough = Event(), Event(), Event()
        self._failures = count(1)
        self.stages = (self._halt, self._stop)

    @property
    def enough(self) -> bool:
        """Whether as many namespaces have failed as may."""
        return self._enough.is_set()

    @staticmethod
    def todo(found: Findings) -> list[NamespaceSurvey]:
        """Return the namespaces that are not at their goal."""
        return [item for item in found.survey.namespaces if item.state != "done"]

    def declined(self, found: Findings) -> Result:
        """Return the outcome of a cluster where the question was answered with no."""
        from kubectl_harden.migration.migrate import Migrated

        stopped = {item.name: Migrated(item.name, "stopped", "not confirmed", item) for item in self.todo(found)}
        return _result(found, stopped, None)

    def __call__(self, found: Findings, display: Progress, each: Each, prefix: str = "") -> tuple[Result, bool]:
        """Carry out what was found on a cluster; returns the outcome, and what ``each`` returned.

        ``each`` does work for each namespace and passes on the outcomes, as Parallel does. ``prefix`` is put before the
        names of namespaces.
        """
        from kubectl_harden.live.journal import Journal, unfollowed
        from kubectl_harden.migration.migrate import Migrated, Migrator
        from kubectl_harden.migration.plan_file import drift
        from kubectl_harden.reports.matrix import migrated_lines
        from kubectl_harden.reports.terminal import width

        connection, plan, columns = found.cluster.connection, self._run.plan, width(2)
        journal = Journal(command="migrate", server=connection.server, context=connection.context)
        done: dict[str, Migrated] = {}
        migrator = Migrator(
            found.policies,
            journal,
            found.aim,
            seconds=self._run.limit,
            report=lambda name, *words: display.report(prefix + name, *words),
            halt=self._halt,
            stop=self._stop,
            drift=None if plan is None else lambda now, proposals: drift(plan.namespaces[now.name], now, proposals),
            cut_off=unfollowed(),
        )

        def work(item: NamespaceSurvey) -> Migrated:
            if self.enough:
                return Migrated(item.name, "stopped", "not started")
            outcome = migrator.carry_out(item.name)
            if outcome.failed and next(self._failures) == self._run.max_failures:
                self._enough.set()
            return outcome

        def ended(outcome: Migrated) -> None:
            done[outcome.name] = outcome
            named = outcome._replace(name=prefix + outcome.name)
            display.finish(named.name, "".join(migrated_lines(named, columns=columns) if outcome.begun else ()))

        interrupted = each(self.todo(found), work, ended)
        return _result(found, done, journal), interrupted


def _result(found: Findings, done: Mapping[str, Migrated], journal: Journal | None) -> Result:
    """Return the outcome of a cluster: its namespaces in their order, including those that were at their goal."""
    from kubectl_harden.migration.migrate import Migrated

    outcomes = [
        done.get(item.name) or Migrated(item.name, "done", found=item, blockers=item.blockers, labels=item.labels)
        for item in found.survey.namespaces
    ]
    undo, problems = "", list(found.problems)
    later = [problem for item in outcomes if item.found is not None for problem in item.found.problems]
    problems += [problem for problem in dict.fromkeys(later) if problem not in problems]
    if journal is not None:
        undo = found.cluster.connection.commands.harden("undo", journal.run) if journal.used else ""
        problems += _failures(outcomes, journal)
    return Result(found.cluster, found.aim, found.survey, outcomes, problems, undo, applied=True)


def _failures(done: Sequence[Migrated], journal: Journal) -> list[Problem]:
    from kubectl_harden.model import Problem
    from kubectl_harden.reports.live import refused

    # A rollout that was rolled back is the workload's fault, not the cluster's.
    problems = [
        Problem(f"namespace {item.name}: {item.message}", refused=True, namespace=item.name)
        for item in done
        if item.state == "failed" and not item.blockers
    ]
    problems += [
        problem._replace(namespace=item.name)
        for item in done
        if item.state != "stopped"
        for problem in refused(item.outcomes)
    ]
    if journal.trouble is not None:
        from kubectl_harden.reports.output import report_problems

        trouble = Problem(f"{journal.trouble}: the journal does not have everything that was done")
        report_problems([trouble])
        problems.append(trouble)
    return problems
