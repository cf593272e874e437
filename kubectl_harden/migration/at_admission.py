"""A step of a migration: the policy of a workload is created and proved, then its old pods are evicted.

Where a new pod fails, the policy is deleted again along with the failing pods, so that they are recreated as before.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import NamedTuple

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.errors import ClusterError, HardenError, InputError
from kubectl_harden.live.apply import Applier, Outcome
from kubectl_harden.live.at_admission import Creator, is_forgotten, needed_objects_for, served_version
from kubectl_harden.live.cut_off_policies import clear, cut_off_policies
from kubectl_harden.live.evictions import Ended, Evictor
from kubectl_harden.live.find import Live
from kubectl_harden.live.journal import Journal
from kubectl_harden.live.made_pods import Trials
from kubectl_harden.live.propose import Proposal
from kubectl_harden.live.trial import start_is_proven, why_no_trial
from kubectl_harden.migration.model import Aim, Blocker
from kubectl_harden.model import Policy
from kubectl_harden.pod_security.policy import evaluate

__all__ = ["AtAdmission", "Step"]


class Step(NamedTuple):
    """The outcome of a workload (None: there was nothing to do), and which old pods hold its namespace back."""

    outcome: Outcome | None
    held: Blocker | None = None


class AtAdmission:
    """Carries proposals out by admission policies, one call each; threads may share it.

    ``seconds`` is the longest wait for a pod. A set ``halt`` ends it between two pods, a set ``stop`` at once.
    """

    def __init__(
        self, cluster: Cluster, journal: Journal, aim: Aim, *, seconds: float, halt: Event, stop: Event
    ) -> None:
        self._cluster = cluster
        self._journal = journal
        self._aim = aim
        self._seconds = seconds
        self._halt = halt
        self._stop = stop

    def carry_out(
        self, proposal: Proposal, applier: Applier, enforced: Policy | None, report: Callable[[str], None]
    ) -> Step:
        """Create the policy of a proposal unless it exists (then there is no patch), and evict older pods.

        ``applier`` starts a trial pod, ``enforced`` is what the namespace enforces. Errors of the cluster become
        outcomes. Raises HardenError for the journal's.
        """
        live = proposal.live
        evictor = Evictor(self._cluster, report, seconds=self._seconds, halt=self._halt, stop=self._stop)
        creator = Creator(self._cluster, self._journal, self._stop, report, old_pods=False)
        created = Outcome(proposal, "applied")
        try:
            if proposal.patch:
                tried = self._tried_first(proposal, applier) if evictor.old(live) else None
                if tried is not None:
                    return Step(tried)
                created = self._created(creator, proposal)
        except ClusterError as error:
            return Step(Outcome(proposal, "failed", f"its old pods are not known: {error}"))
        if created.state != "applied":
            return Step(created)
        try:
            # A running Job would start over.
            ended = evictor.replace(live) if live.resource.kind != "CronJob" else Ended("done")
        except ClusterError as error:
            ended = Ended("held", f"what happened to its old pods is not known: {error}")
        if not proposal.patch and not ended.pods and ended.state == "done":
            return Step(None)
        evicted = f"evicted and recreated: {', '.join(ended.pods)}" if ended.pods else ""
        if ended.state == "failed":
            return Step(self._failed(proposal, creator, evictor, ended, enforced))
        message = "; ".join(filter(None, (created.message, evicted, ended.words)))
        if ended.state == "interrupted" and not proposal.patch:
            return Step(created._replace(state="skipped", message=message))
        held = None
        if ended.state == "held":
            why = "its policy and its pods are left as they are; run the same command again to continue"
            held = Blocker(proposal.name, "", ended.words, why, other_cause="older than its policy")
        return Step(created._replace(message=message), held)

    def _tried_first(self, proposal: Proposal, applier: Applier) -> Outcome | None:
        """Start one new pod before a running one is evicted, where it is not proved that the new one starts."""
        if self._aim.apply.trial is False or start_is_proven(proposal.planned):
            return None
        try:
            if why_no_trial(self._cluster, proposal.live.changed(proposal.goal)):
                return None
        except InputError:
            return None
        return applier.try_first(proposal)

    def _created(self, creator: Creator, proposal: Proposal) -> Outcome:
        """Create and prove the policy, after deleting what a killed run has left of it."""
        left = cut_off_policies(self._cluster.connection.server).get(proposal.by_policy)
        if left is not None:
            why = clear(self._cluster, proposal.live, left, self._stop)
            if why:
                return Outcome(proposal, "failed", why)
        try:
            version = served_version(self._cluster)
            objects = needed_objects_for(Trials(self._cluster, []), proposal, version, self._aim.at_admission)
        except (ClusterError, InputError) as error:
            return Outcome(proposal, "failed", f"no policy is created: {error}")
        if objects is None:
            return Outcome(proposal, "failed", "no policy is created: there are no edits")
        return creator.create(proposal, objects)

    def _failed(
        self, proposal: Proposal, creator: Creator, evictor: Evictor, ended: Ended, enforced: Policy | None
    ) -> Outcome:
        """Delete the policy, and its failing pods, where this run made it and pods without it are admitted."""
        live = proposal.live
        evicted = f"{ended.words} (evicted: {', '.join(ended.pods)})"
        if not proposal.patch:
            return Outcome(proposal, "left", f"{evicted}; its policy was there before")
        if enforced is not None and _violates(live, enforced):
            return Outcome(proposal, "left", f"{evicted}; without the policy its pods would be refused by {enforced}")
        outcome = creator.take_back(proposal, evicted)
        if outcome.state == "left":
            return outcome
        try:
            if not is_forgotten(self._cluster, live, self._stop):
                return outcome._replace(state="left", message=f"{outcome.message}; its failing pods are still there")
            removed = evictor.remove_failing(live)
        except HardenError as error:
            return outcome._replace(state="left", message=f"{outcome.message}; its failing pods: {error}")
        words = f"; deleted, to be recreated as before: {', '.join(removed)}" if removed else ""
        return outcome._replace(message=outcome.message + words)


def _violates(live: Live, policy: Policy) -> bool:
    try:
        return any(evaluate(location.pod(), policy) for location in live.subject.templates())
    except InputError:
        return True
