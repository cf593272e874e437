"""One namespace at a time to a level: warn and audit, fixes, a second look, enforce, proof.

Every step reads from the cluster what is done, so the same command continues a run that was cut off, on any machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from threading import Event
from typing import Literal, NamedTuple

from kubectl_harden.cluster.api import NAMESPACES, PODS
from kubectl_harden.errors import ClusterError, Conflict, HardenError
from kubectl_harden.field_path import parse_pointer, pointer
from kubectl_harden.json_values import same
from kubectl_harden.live.apply import Applier, Outcome
from kubectl_harden.live.find import Live
from kubectl_harden.live.in_force import PoliciesInForce
from kubectl_harden.live.journal import Change, Journal, mark_undone
from kubectl_harden.live.propose import Proposal, propose, prove_pods
from kubectl_harden.live.rollout import pod_ready, progress, watched
from kubectl_harden.migration.at_admission import AtAdmission
from kubectl_harden.migration.labels import LAG_SECONDS, Labels
from kubectl_harden.migration.model import Aim, Blocker, NamespaceSurvey, planned_checks
from kubectl_harden.migration.survey import survey_namespace
from kubectl_harden.model import Edit, Policy
from kubectl_harden.objects import controller_of, finished, name_of
from kubectl_harden.plan_model import Plan, Planned
from kubectl_harden.planning.json_patch import in_force, moved_on
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.policy import evaluate, worded

__all__ = ["Migrated", "Migrator", "Report"]

MigrationState = Literal["enforced", "done", "blocked", "failed", "drifted", "stopped"]
Report = Callable[[str, str, int, int], None]
"""Gets the namespace, a few words, and how many of its workloads are done, of how many."""


class Migrated(NamedTuple):
    """The outcome of a namespace.

    ``state``: enforced (by this run), done (there was nothing to do), blocked (warn and audit are set), failed (a step
    went wrong), drifted (no longer as the plan file has it), stopped (as asked; the rest is not started). ``found`` is
    what the survey found before, ``labels`` what they are at the end, ``ready`` how many pods are ready of how many.
    """

    name: str
    state: MigrationState
    message: str = ""
    found: NamespaceSurvey | None = None
    blockers: tuple[Blocker, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    labels: Mapping[str, str] | None = None
    ready: tuple[int, int] | None = None

    @property
    def failed(self) -> bool:
        """Whether a step went wrong, even where a lower level could be enforced."""
        return self.state == "failed" or any(map(_failed, self.outcomes))

    @property
    def begun(self) -> bool:
        """Whether the namespace was looked at."""
        return self.found is not None or self.state != "stopped"


class _Halted(Exception):
    """The run is to stop between two steps."""


class _Blocked(Exception):
    """The namespace cannot be enforced; ``blockers`` say why."""

    def __init__(self, blockers: Sequence[Blocker]) -> None:
        super().__init__(blockers[0].what if blockers else "")
        self.blockers = tuple(blockers)


class Migrator:
    """Takes namespaces to a level, one call each; threads may share it.

    ``drift`` says what is no longer as a plan file has it; ``cut_off`` are changes, by uid with their run, whose
    rollout no run has followed to its end (see journal.unfollowed). A set ``halt`` ends a namespace between two steps,
    a set ``stop`` also the watching of rollouts. ``seconds`` is the longest wait for a rollout.
    """

    def __init__(
        self,
        policies: PoliciesInForce,
        journal: Journal,
        aim: Aim,
        *,
        seconds: float,
        report: Report,
        halt: Event,
        stop: Event,
        drift: Callable[[NamespaceSurvey, Sequence[Proposal]], list[str]] | None = None,
        cut_off: Mapping[str, tuple[str, Change]],
    ) -> None:
        self._policies = policies
        self._cluster = policies.cluster
        self._journal = journal
        self._aim = aim
        self._labels = Labels(policies, journal, aim.version, halt)
        self._at_admission = AtAdmission(self._cluster, journal, aim, seconds=seconds, halt=halt, stop=stop)
        self._seconds = seconds
        self._report = report
        self._halt = halt
        self._stop = stop
        self._drift = drift
        self._cut_off = cut_off

    def carry_out(self, name: str) -> Migrated:
        """Take a namespace as far as it can go. Errors of the cluster become outcomes."""
        if self._halt.is_set():
            return Migrated(name, "stopped", "not started")
        done = Migrated(name, "failed")
        try:
            self._say(name, "reading")
            value = self._cluster.get(NAMESPACES, None, name)
            found, proposals = survey_namespace(self._policies, value, self._aim)
            done = done._replace(found=found, labels=found.labels)
            drifted = self._drift(found, proposals) if self._drift is not None else []
            if drifted:
                return done._replace(state="drifted", message="; ".join(drifted))
            if found.state == "done":
                return done._replace(state="done", blockers=found.blockers)
            return self._steps(done, found, proposals)
        except HardenError as error:
            return done._replace(message=str(error))

    def _steps(self, done: Migrated, found: NamespaceSurvey, proposals: Sequence[Proposal]) -> Migrated:
        name = found.name
        outcomes: list[Outcome] = []
        try:
            if not found.managers:
                self._step(name, "warn and audit")
                self._labels.raise_to(name, ("warn", "audit"), found.target.level, found.target)
            try:
                done = self._attempt(done, found, proposals, outcomes)
            except _Blocked as error:
                done = self._lower(done, found, error, outcomes)
        except _Halted:
            done = done._replace(
                state="stopped", message="stopped between two steps; run the same command again to continue"
            )
        except HardenError as error:
            done = done._replace(message=str(error))
        labels = done.labels
        with suppress(ClusterError):
            labels = self._cluster.get(NAMESPACES, None, name)["metadata"].get("labels") or {}
        return done._replace(outcomes=tuple(outcomes), labels=labels)

    def _attempt(
        self, done: Migrated, found: NamespaceSurvey, proposals: Sequence[Proposal], outcomes: list[Outcome]
    ) -> Migrated:
        """Fix, enforce and prove. Raises _Blocked, _Halted, HardenError."""
        name = found.name
        if found.state == "blocked" and not found.only_labels:
            raise _Blocked(found.blockers)
        if found.enforce_labels and not found.server.asked:
            raise HardenError(f"nothing is patched, since the level cannot be enforced: {found.server.why}")
        self._resume(name, proposals, outcomes)
        self._apply(name, proposals, outcomes, found.in_force.modes.get("enforce"))
        if found.only_labels:
            # They are set in a checkout, once the workloads meet the level.
            raise _Blocked(found.blockers)
        state: MigrationState = "enforced" if self._enforce(name, found.goal) else "done"
        return done._replace(state=state, found=found, ready=self._prove(name, found.goal), blockers=found.blockers)

    def _lower(self, done: Migrated, found: NamespaceSurvey, blocked: _Blocked, outcomes: list[Outcome]) -> Migrated:
        """Return the outcome of a blocked namespace: baseline, where that is high enough and can be reached."""
        blockers = blocked.blockers
        # A plan file is carried out exactly or not at all.
        may = self._aim.level == "highest" and self._drift is None
        if may and found.state != "blocked" and found.goal.level != "baseline":
            value = self._cluster.get(NAMESPACES, None, found.name)
            lower, proposals = survey_namespace(self._policies, value, self._aim.at("baseline"))
            try:
                ended = self._attempt(done, lower, proposals, outcomes)
            except _Blocked as error:
                blockers += error.blockers
            else:
                return ended._replace(found=found._replace(goal=lower.goal), blockers=blockers)
        state: MigrationState = "failed" if any(map(_failed, outcomes)) else "blocked"
        return done._replace(state=state, blockers=blockers, message=str(blocked))

    def _say(self, name: str, words: str, done: int = 0, total: int = 0) -> None:
        self._report(name, words, done, total)

    def _step(self, name: str, words: str, done: int = 0, total: int = 0) -> None:
        """Begin a step, unless the run is to stop. Raises _Halted."""
        if self._halt.is_set():
            raise _Halted
        self._say(name, words, done, total)

    # -- fixes -------------------------------------------------------------------------------------------

    def _applier(self, name: str, done: int, total: int) -> Applier:
        aim = self._aim
        return Applier(
            self._cluster,
            self._journal,
            again=lambda old: propose(self._cluster, old.live, aim.planning, aim.apply),
            seconds=self._seconds,
            rollback=True,
            confirm=self._accepts,
            report=lambda subject, words: self._say(name, f"{subject.rpartition('/')[2]}: {words}", done, total),
            stop=self._stop,
            leave=self._stop,
        )

    def _accepts(self, proposal: Proposal) -> bool:
        """Whether a plan may differ from the one before, because someone has changed the object meanwhile."""
        return self._drift is None and proposal.refusal is None

    def _resume(self, name: str, proposals: Sequence[Proposal], outcomes: list[Outcome]) -> None:
        """Follow what a run that was cut off has changed to its end. Raises _Blocked where it fails."""
        for proposal in proposals:
            live = proposal.live
            cut_off = self._cut_off.get(live.uid)
            if cut_off is None or watched(live.value) is not None or progress(live.value, ()).done:
                continue
            run, change = cut_off
            if not in_force(live.value, change.operations) or moved_on(live.value, change.inverse) is not None:
                continue
            self._step(name, f"{live.name}: what an earlier run began")
            undone = partial(mark_undone, run, [change.id])
            self._judge(self._applier(name, 0, 0).resume(_as_planned(live, change), change.inverse, undone), outcomes)

    def _apply(
        self, name: str, proposals: Sequence[Proposal], outcomes: list[Outcome], enforced: Policy | None
    ) -> None:
        """Prove all fixes, then apply them one by one. Raises _Blocked at the first that is refused or fails."""
        proved = []
        for index, proposal in enumerate(proposals):
            self._step(name, f"{proposal.live.name}: dry-run", index, len(proposals))
            # A policy is proved where it is created.
            judged = proposal if proposal.by_policy else self._proved(proposal)
            if self._drift is not None and not same(list(judged.patch), list(proposal.patch)):
                judged = judged._replace(refusal="someone changed it in the meantime, and the plan no longer fits")
            proved.append(judged)
        refused = [proposal for proposal in proved if proposal.refusal is not None]
        if refused:
            raise _Blocked([_refusal(proposal) for proposal in refused])
        changed = [proposal for proposal in proved if proposal.patch or proposal.by_policy]
        for index, proposal in enumerate(changed):
            if proposal.by_policy:
                self._by_policy(name, proposal, index, len(changed), outcomes, enforced)
                continue
            self._step(name, f"{proposal.live.name}: patching", index, len(changed))
            self._judge(self._applier(name, index, len(changed)).apply(proposal), outcomes)

    def _by_policy(
        self,
        name: str,
        proposal: Proposal,
        done: int,
        total: int,
        outcomes: list[Outcome],
        enforced: Policy | None,
    ) -> None:
        """Create the policy of a workload, and evict older pods. Raises _Blocked, _Halted."""

        def report(words: str) -> None:
            self._say(name, words, done, total)

        self._step(name, f"{proposal.live.name}: its policy", done, total)
        applier = self._applier(name, done, total)
        step = self._at_admission.carry_out(proposal, applier, enforced, report)
        if step.outcome is not None:
            self._judge(step.outcome, outcomes)
        if step.held is not None:
            raise _Blocked([step.held])

    def _proved(self, proposal: Proposal) -> Proposal:
        aim, live = self._aim, proposal.live
        if proposal.patch:
            proved = propose(self._cluster, live, aim.planning, aim.apply)
        elif live.resource.kind in ("Pod", "PodTemplate") or finished(live.value):
            return proposal
        else:
            proved = prove_pods(self._cluster, proposal, level_only=True)
        if proved.injected and proved.refusal is None:
            what = "its pods would violate it, since an admission webhook or policy changes them: "
            return proved._replace(refusal=what + ", ".join(proved.injected))
        return proved

    def _judge(self, outcome: Outcome, outcomes: list[Outcome]) -> None:
        outcomes.append(outcome._replace(proposal=outcome.proposal.counted()))
        if outcome.state == "applied":
            return
        if self._halt.is_set() and outcome.state in ("skipped", "unwatched"):
            raise _Halted
        checks = outcome.blamed.checks if outcome.blamed is not None else ()
        advice = outcome.blamed.advice if outcome.blamed is not None else ""
        words = {"rolled back": "rolled back: ", "refused": "", "skipped": ""}.get(outcome.state, f"{outcome.state}: ")
        raise _Blocked([Blocker(outcome.proposal.name, ", ".join(checks), f"{words}{outcome.message}", advice)])

    # -- enforce -----------------------------------------------------------------------------------------

    def _enforce(self, name: str, goal: Policy) -> bool:
        """Enforce the goal once nothing in the namespace violates it; returns whether it had yet to be enforced.

        Raises _Blocked, _Halted, ClusterError.
        """
        aim = self._aim.at(goal.level)
        deadline = time.monotonic() + self._seconds
        patience: float | None = None
        while True:
            self._step(name, f"checking again before {goal.level} is enforced")
            value = self._cluster.get(NAMESPACES, None, name)
            found, proposals = survey_namespace(self._policies, value, aim)
            refused = dict.fromkeys(item.message for item in found.problems if item.refused)
            if refused:
                # The cluster is at fault, not the namespace.
                raise ClusterError("; ".join(refused))
            if found.state == "done":
                return False
            if found.state == "blocked":
                raise _Blocked(found.blockers)
            if found.to_fix:
                raise _Blocked([_intruder(proposal) for proposal in proposals if proposal.patch])
            if found.pods:
                if time.monotonic() > deadline:
                    raise _Blocked([_lingering(pod.owner, pod.name, pod.words, self._seconds) for pod in found.pods])
                self._say(name, f"waiting for {len(found.pods)} old pods to terminate")
                self._halt.wait(0.5)
                continue
            self._step(name, f"enforcing {goal.level}")
            warnings = self._labels.warnings(name, value, goal)
            if warnings:
                # The server answers from its cache, which may lag behind its own lists.
                patience = patience or time.monotonic() + LAG_SECONDS
                if time.monotonic() > patience:
                    raise _Blocked(
                        [
                            Blocker(f"Namespace {name}", "", text, "the API server says so", other_cause="warning")
                            for text in warnings
                        ]
                    )
                self._halt.wait(0.5)
                continue
            try:
                change = self._labels.raise_to(name, ("enforce",), goal.level, goal, value)
            except Conflict:
                continue
            late = self._violating(name, goal)
            if late and change is not None:
                self._labels.take_back(name, change, "a pod that violates it was created at the same moment")
                raise _Blocked(late)
            return change is not None

    def _violating(self, name: str, goal: Policy) -> list[Blocker]:
        """Return the pods that violate the goal now and are not going away."""
        out = []
        for value in self._cluster.each(PODS, name):
            findings = evaluate(Pod(value, is_pod=True, decoded=True), goal)
            if findings and not value["metadata"].get("deletionTimestamp"):
                words = ", ".join(worded(f.reason, f.detail) for _, f in findings)
                owner = controller_of(value)
                subject = f"{owner['kind']} {name}/{owner['name']}" if owner else name_of("Pod", value)
                out.append(
                    Blocker(
                        subject,
                        "",
                        f"pod {value['metadata']['name']} violates it: {words}",
                        "it was created during the migration of the namespace",
                        other_cause="running pods",
                    )
                )
        return out

    def _prove(self, name: str, goal: Policy) -> tuple[int, int]:
        """Return how many pods are ready, of how many; the label must be there. Raises HardenError."""
        self._say(name, "proving")
        labels = self._cluster.get(NAMESPACES, None, name)["metadata"].get("labels")
        if self._labels.wanted(name, labels, ("enforce",), goal.level):
            raise HardenError(f"the label was set, and someone removed it again: {goal} is not enforced")
        self._labels.prove_refusal(name, goal)
        pods = [pod for pod in self._cluster.each(PODS, name) if not finished(pod)]
        pods = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        return sum(map(pod_ready, pods)), len(pods)


def _failed(outcome: Outcome) -> bool:
    return outcome.state not in ("applied", "refused")


def _as_planned(live: Live, change: Change) -> Proposal:
    """Return a proposal whose plan is a change that has already been made."""
    planned = []
    for location in live.subject.templates():
        prefix = pointer(location.path)
        steps = tuple(
            Edit(
                op=operation["op"],
                path=parse_pointer(operation["path"].removeprefix(prefix)),
                value=operation.get("value"),
                checks=(),
                risk="review",
                why="",
            )
            for operation in change.operations
            if operation["op"] != "test" and operation["path"].startswith(prefix)
        )
        plan = Plan("privileged", live.policy.level, (), (), steps)
        planned.append(Planned(live.subject.named(location), plan, live.policy))
    return Proposal(live, tuple(planned), tuple(change.operations), live.value, ownership=tuple(change.ownership))


def _refusal(proposal: Proposal) -> Blocker:
    return Blocker(
        proposal.name,
        planned_checks(proposal),
        proposal.refusal or "",
        "nothing in the namespace was patched",
        owner=proposal.live.owner or "",
    )


def _intruder(proposal: Proposal) -> Blocker:
    return Blocker(
        proposal.name,
        planned_checks(proposal),
        "it violates the level, and did not before",
        "someone deployed it during the migration of the namespace; run the same command again to include it",
        owner=proposal.live.owner or "",
    )


def _lingering(owner: str, pod: str, words: str, seconds: float) -> Blocker:
    return Blocker(
        owner or f"pod {pod}",
        "",
        f"pod {pod} still violates it after {seconds:.0f} s: {words}",
        "its workload's rollout has not finished",
        other_cause="running pods",
    )
