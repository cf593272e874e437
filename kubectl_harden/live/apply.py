"""Proposals become changes: journal → guarded patch → watched rollout → rollback where it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from threading import Event
from typing import Any, Literal, NamedTuple

from kubectl_harden.cluster.api import PODS, Cluster
from kubectl_harden.errors import ClusterError, Conflict, NotFound, Unreachable
from kubectl_harden.json_values import same
from kubectl_harden.live.blame import Blame, blame
from kubectl_harden.live.find import Live
from kubectl_harden.live.follow import Followed, Snapshot, follow, take_snapshot
from kubectl_harden.live.journal import Journal
from kubectl_harden.live.ownership import Transfer, given_back, inverted, transferred
from kubectl_harden.live.propose import RETRIES, Proposal, fresh, guarded, tries
from kubectl_harden.live.recreate import replace
from kubectl_harden.live.rollout import Progress, pod_ready, progress, reason_of, watched
from kubectl_harden.live.trial import started
from kubectl_harden.objects import name_of
from kubectl_harden.planning.json_patch import Operation, in_force, inverse_of, moved_on, operations, touched

__all__ = [
    "Applier",
    "Outcome",
    "State",
    "carries",
    "explained",
    "reverted",
    "target_of",
    "unblocked",
    "was_so",
    "written",
]

State = Literal[
    "applied", "unwatched", "down", "tried", "rolled back", "left", "failed", "refused", "skipped", "unknown"
]


class Outcome(NamedTuple):
    """The outcome of a proposal.

    ``state``: applied (and ready, where a rollout follows); applied and not watched to its end (``unwatched``);
    applied, but its pods do not run for another reason (``down``); not applied, because its trial pod did not run
    (``tried``); rolled back, or left in place (``left``), because its pods failed; failed (the server did not accept
    it); refused (not tried); skipped (not started, or not confirmed); unknown (the connection broke, and the cluster
    could not be asked). ``message`` is a sentence for people, ``log`` the last lines of the failed container.
    """

    proposal: Proposal
    state: State
    message: str = ""
    blamed: Blame | None = None
    log: tuple[str, ...] = ()


class Applier:
    """Carries proposals out, one call each; threads may share it.

    ``again`` makes a new plan for an object that someone else has changed; ``confirm`` is asked before a write whose
    plan differs from the one that was confirmed; ``report`` gets a workload's name and a few words at each step; a set
    ``stop`` ends the watching, a set ``leave`` also the waiting for deleted objects to be gone.
    """

    def __init__(
        self,
        cluster: Cluster,
        journal: Journal,
        *,
        again: Callable[[Proposal], Proposal],
        seconds: float,
        rollback: bool,
        confirm: Callable[[Proposal], bool],
        report: Callable[[str, str], None],
        stop: Event,
        leave: Event | None = None,
    ) -> None:
        self._cluster = cluster
        self._journal = journal
        self._again = again
        self._seconds = seconds
        self._rollback = rollback
        self._confirm = confirm
        self._report = report
        self._stop = stop
        self._leave = leave or Event()

    def apply(self, proposal: Proposal) -> Outcome:
        """Carry a proposal out. Errors of the cluster become outcomes; raises HardenError for the journal's."""
        tried: list[Operation] | None = None
        for _ in tries():
            if proposal.refusal is not None:
                return Outcome(proposal, "refused", proposal.refusal)
            if self._stop.is_set():
                return Outcome(proposal, "skipped", "not started")
            if proposal.trial and not same(tried, list(proposal.patch)):
                failed = self.try_first(proposal)
                if failed is not None:
                    return failed
                tried = list(proposal.patch)
            try:
                return self._recreate(proposal) if proposal.recreate else self._patch(proposal)
            except Conflict:
                again = self._again(proposal)
                if not again.patch and again.refusal is None:
                    return Outcome(again, "applied", "someone else made the change in the meantime")
                if not same(list(again.patch), list(proposal.patch)) and again.refusal is None:
                    self._report(proposal.name, "changed by others in the meantime, planned again")
                    if not self._confirm(again):
                        return Outcome(again, "skipped", "the plan is different now, and was not confirmed")
                proposal = again
        return Outcome(proposal, "failed", f"others changed it {RETRIES} times in the meantime; not changed")

    def try_first(self, proposal: Proposal) -> Outcome | None:
        """Start a pod of the new template first; returns why the change is not made, None where it may be."""
        live = proposal.live
        value = fresh(proposal.goal) if proposal.recreate else proposal.returned or proposal.goal

        def report(now: Progress) -> None:
            self._report(proposal.name, f"trying one new pod first: {'ready' if now.ready else 'not ready yet'}")

        try:
            ended = started(
                self._cluster,
                live.changed({**live.resource.head, **value}),
                self._journal,
                seconds=self._seconds,
                stop=self._stop,
                report=report,
            )
        except ClusterError as error:
            return Outcome(proposal, "tried", f"not changed: one new pod could not be tried first: {error}")
        if ended.state == "ready":
            return None
        if ended.state == "interrupted":
            return Outcome(proposal, "skipped", "not started; its trial pod is removed")
        # That no node has room for one more pod says nothing about the change.
        if not proposal.no_way_back and {reason_of(pod) for pod in ended.unready} == {"Unschedulable"}:
            return None
        failed = explained(self._cluster, proposal, ended)
        words = failed.message.removeprefix("its new pods fail: ")
        return failed._replace(
            state="tried", message=f"not changed, because one new pod was tried first and fails: {words}"
        )

    # -- patching ------------------------------------------------------------------------------------

    def _patch(self, proposal: Proposal) -> Outcome:
        """Write a patch and follow it. Raises Conflict where the object has changed: nothing is written then."""
        live = proposal.live
        undoing = not proposal.planned
        silent = watched(proposal.goal)
        if proposal.pods_refused:
            silent = silent or f"as it was before; its pods are refused: {proposal.pods_refused}"
        if not proposal.follow:
            silent = silent or "as it was before, when not all of its pods were running either"
        before = None
        if silent is None or (undoing and live.resource.kind == "StatefulSet"):
            is_new = _is_unready if undoing else partial(carries, proposal)
            try:
                before = take_snapshot(self._cluster, live.value, is_new)
            except ClusterError as error:
                return Outcome(proposal, "failed", f"not changed, since its pods could not be watched: {error}")
        expected = proposal.returned or proposal.goal
        change = self._journal.begin(
            target_of(live),
            list(proposal.patch),
            inverse_of(live.value, expected, proposal.patch),
            touched(live.value, proposal.patch),
            touched(expected, proposal.patch),
            complete=progress(live.value, ()).done,
            ownership=proposal.ownership,
        )
        self._report(proposal.name, "patching")
        try:
            returned = written(self._cluster, live, proposal.patch, proposal.goal)
        except (Conflict, ClusterError) as error:
            if isinstance(error, Unreachable) and error.sent:
                return Outcome(proposal, "unknown", f"it is not known whether it was changed: {error}")
            self._journal.failed(change, str(error))
            if isinstance(error, Conflict):
                raise
            return Outcome(proposal, "failed", f"not changed: {error}")
        inverse = inverse_of(live.value, returned, proposal.patch)
        self._journal.done(change, inverse)
        owned = given_back(self._cluster, live.resource, returned, proposal.owners)
        outcome = self._patched(proposal, change, inverse, returned, before, silent)
        return outcome._replace(message="; ".join(text for text in (outcome.message, owned) if text))

    def _patched(
        self,
        proposal: Proposal,
        change: str,
        inverse: list[Operation],
        returned: dict[str, object],
        before: Snapshot | None,
        silent: str | None,
    ) -> Outcome:
        """Follow the rollout of a change to its end, unless it is ``silent`` (why not)."""
        live = proposal.live
        undoing = not proposal.planned
        if undoing and before is not None and not proposal.pods_refused:
            silent = unblocked(self._cluster, live, before.new.values()).removeprefix("; ") or silent
            before = before._replace(new={})
        if before is None or silent is not None:
            self._journal.followed(change, "not watched")
            return Outcome(proposal, "down" if proposal.pods_refused else "applied", silent or "")
        if not undoing:
            blocked = unblocked(self._cluster, live, before.unready)
            if blocked:
                self._report(proposal.name, blocked.removeprefix("; "))
        try:
            followed = self._follow(live, returned, before)
        except ClusterError as error:
            return Outcome(proposal, "unwatched", f"changed, but its rollout could not be watched: {error}")
        if followed.state != "interrupted":
            self._journal.followed(change, followed.state)
        if followed.state == "ready":
            return Outcome(proposal, "applied", "its pods are ready")
        if followed.state == "interrupted":
            return Outcome(proposal, "unwatched", "changed; its pods were not ready yet when it was interrupted")
        if undoing:
            return Outcome(proposal, "down", f"as it was before; its pods do not run: {followed.words}")
        failed = explained(self._cluster, proposal, followed)
        if was_so(followed, before):
            words = f"{failed.message}; so did the pods before the change, which is left in place"
            return failed._replace(state="down", message=words, blamed=None)
        if not self._rollback:
            return failed._replace(state="left", message=f"{failed.message}; the change is left in place")
        return self._taken_back(failed, partial(self._journal.undone, change), inverse, followed)

    def resume(self, proposal: Proposal, inverse: list[Operation], undone: Callable[[str], None]) -> Outcome:
        """Follow a change that an earlier run made but did not follow to its end; where it fails, roll it back.

        ``proposal`` has the change as the steps of its plan, ``inverse`` undoes it, ``undone`` notes that in the
        journal.
        """
        live = proposal.live
        try:
            before = take_snapshot(self._cluster, live.value, partial(carries, proposal))
            followed = self._follow(live, live.value, before)
        except ClusterError as error:
            return Outcome(proposal, "unwatched", f"changed by an earlier run, but it could not be watched: {error}")
        if followed.state == "ready":
            return Outcome(proposal, "applied", "its pods are ready")
        if followed.state == "interrupted":
            return Outcome(proposal, "unwatched", "its pods were not ready yet when it was interrupted")
        return self._taken_back(explained(self._cluster, proposal, followed), undone, inverse, followed)

    def _follow(self, live: Live, value: dict[str, object], before: Snapshot) -> Followed:
        name = name_of(live.resource.kind, live.value)

        def report(now: Progress) -> None:
            self._report(name, f"{now.ready} of {now.wanted} new pods ready")

        return follow(self._cluster, live.resource, value, before, self._seconds, self._stop, report)

    def _taken_back(
        self, failed: Outcome, undone: Callable[[str], None], inverse: list[Operation], followed: Followed
    ) -> Outcome:
        """Roll a change back, note that, and wait until the old state runs again."""
        live = failed.proposal.live
        was_complete = progress(live.value, ()).done
        self._report(failed.proposal.name, "its new pods fail; rolling the change back")
        for _ in tries():
            try:
                now = live.changed(
                    {**live.resource.head, **self._cluster.get(live.resource, live.namespace, live.name)}
                )
                if now.uid != live.uid:
                    return failed._replace(message=f"{failed.message}; it was replaced since, and is left alone")
                moved = moved_on(now.value, inverse)
                if moved is not None:
                    return failed._replace(
                        message=f"{failed.message}; not rolled back, because someone changed {moved} in the meantime"
                    )
                before = take_snapshot(self._cluster, live.value, lambda pod: not carries(failed.proposal, pod))
                returned, owned = reverted(self._cluster, now, inverse, failed.proposal.ownership)
            except Conflict:
                continue
            except ClusterError as error:
                return failed._replace(message=f"{failed.message}; rolling it back failed ({error}): {self._undo()}")
            undone(failed.message)
            words = unblocked(self._cluster, live, followed.unready)
            if was_complete and not words:
                words = self._restored(live, returned, before)
            words += f"; {owned}" if owned else ""
            return failed._replace(state="rolled back", message=failed.message + words)
        return failed._replace(
            message=f"{failed.message}; not rolled back, because others keep changing it: {self._undo()}"
        )

    def _undo(self) -> str:
        return self._cluster.connection.commands.harden("undo", self._journal.run)

    def _restored(self, live: Live, value: dict[str, object], before: Snapshot) -> str:
        """Wait for the old state; returns what a person should know about it."""
        try:
            ended = self._follow(live, value, before)
        except ClusterError as error:
            return f"; whether the old state runs again could not be watched: {error}"
        return (
            "" if ended.state == "ready" else f"; the old state is not running again yet: {ended.words or ended.state}"
        )

    # -- recreating ----------------------------------------------------------------------------------

    def _recreate(self, proposal: Proposal) -> Outcome:
        """Delete a Pod or a Job and create it as planned; where that fails, create it as it was."""
        live = proposal.live
        before, after = fresh(live.value), fresh(proposal.goal)
        change = self._journal.begin(
            target_of(live), [], [], before, after, recreated=True, ownership=proposal.ownership
        )
        try:
            made, trouble = self._replace(live, before, after)
        except ClusterError as error:
            self._journal.failed(change, str(error))
            if isinstance(error, Conflict):
                raise
            return Outcome(proposal, "failed", f"not deleted: {error}")
        if made is None:
            return Outcome(proposal, "failed", f"{trouble}; to create it again: {self._undo()}")
        if trouble:
            self._journal.undone(change, trouble)
            return Outcome(proposal, "failed", trouble)
        self._journal.done(change, [], made["metadata"]["uid"])
        owned = given_back(self._cluster, live.resource, made, proposal.owners)
        outcome = self._recreated(proposal, change, live.changed({**live.resource.head, **made}))
        return outcome._replace(message="; ".join(text for text in (outcome.message, owned) if text))

    def _recreated(self, proposal: Proposal, change: str, now: Live) -> Outcome:
        """Follow an object that was deleted and created; where it fails, create the old one again."""
        live = proposal.live
        silent = watched(now.value)
        if silent is not None and live.resource.kind == "Job":
            return Outcome(proposal, "applied", f"recreated; {silent}")
        try:
            followed = self._follow(now, now.value, Snapshot(frozenset(), live.version, {}))
        except ClusterError as error:
            return Outcome(proposal, "unwatched", f"recreated, but it could not be watched: {error}")
        if followed.state != "interrupted":
            self._journal.followed(change, followed.state)
        if followed.state == "ready":
            return Outcome(proposal, "applied", "recreated, and ready")
        if followed.state == "interrupted":
            return Outcome(proposal, "unwatched", "recreated; it was not ready yet when it was interrupted")
        failed = explained(self._cluster, proposal, followed)
        if not self._rollback:
            return failed._replace(message=f"{failed.message}; it is left as it is")
        owners = transferred(now.value["metadata"].get("managedFields") or (), inverted(proposal.ownership))
        try:
            made, trouble = self._replace(now, fresh(proposal.goal), fresh(live.value))
        except ClusterError as error:
            made, trouble = None, str(error)
        if made is None or trouble:
            return failed._replace(message=f"{failed.message}; not rolled back: {trouble}")
        self._journal.undone(change, failed.message)
        owned = given_back(self._cluster, live.resource, made, owners)
        words = f"; {owned}" if owned else ""
        return failed._replace(state="rolled back", message=failed.message + words)

    def _replace(self, live: Live, before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
        return replace(
            self._cluster,
            live,
            before,
            after,
            run=self._journal.run,
            seconds=self._seconds,
            leave=self._leave,
            report=self._report,
        )


def written(cluster: Cluster, live: Live, patch: Sequence[Operation], goal: dict[str, object]) -> dict[str, Any]:
    """Send a guarded patch and return the object; where the answer is lost, find out from the cluster whether it was
    applied.

    ``goal`` is the object as the patch should make it. Raises Conflict where the object has changed (nothing
    is written then), Unreachable with ``sent`` where nothing is known, and other ClusterErrors.
    """
    try:
        answer = cluster.patch(live.resource, live.namespace, live.name, guarded(live, patch), dry_run=False)
    except Unreachable as error:
        if not error.sent:
            raise
        try:
            now = cluster.get(live.resource, live.namespace, live.name)
        except ClusterError:
            raise error from None
        if now["metadata"]["resourceVersion"] == live.version:
            raise Unreachable(str(error)) from None
        if moved_on(now, inverse_of(live.value, goal, patch)) is not None:
            raise
        return {**live.resource.head, **now}
    return {**live.resource.head, **answer.value}


def reverted(
    cluster: Cluster, now: Live, inverse: Sequence[Operation], ownership: Sequence[Transfer]
) -> tuple[dict[str, Any], str]:
    """Roll a change back in exactly this state of the object, and give the fields back to their owners.

    Returns the object, and why the fields were not given back ("" where they were). Raises ClusterError.
    """
    owners = transferred(now.value["metadata"].get("managedFields") or (), inverted(ownership))
    answer = cluster.patch(now.resource, now.namespace or None, now.name, guarded(now, inverse), dry_run=False)
    return {**now.resource.head, **answer.value}, given_back(cluster, now.resource, answer.value, owners)


def explained(cluster: Cluster, proposal: Proposal, followed: Followed) -> Outcome:
    """Return the outcome of a failure: its message, the edits that are to blame, the container's last log lines."""
    log: list[str] = []
    failure = followed.failure
    if failure is not None and failure.reason == "CrashLoopBackOff":
        log = cluster.log_tail(proposal.live.namespace, failure.pod, failure.container, previous=True)
    steps = [step for item in proposal.planned for step in item.plan.steps]
    blamed = blame(" ".join((followed.words, *log)), failure, steps)
    where = f"container {failure.container} of pod {failure.pod}: " if failure is not None else ""
    return Outcome(proposal, "left", f"its new pods fail: {where}{followed.words}", blamed, tuple(log))


def unblocked(cluster: Cluster, live: Live, unready: Iterable[dict[str, Any]]) -> str:
    """Delete a StatefulSet's pods that are not ready, after its template was changed.

    Returns what a person should know about it. Its controller waits for them to become ready, whatever its template
    says now ("forced rollback" of kubernetes.io/docs/concepts/workloads/controllers/statefulset).
    """
    for pod in unready if live.resource.kind == "StatefulSet" else ():
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        try:
            cluster.delete(PODS, live.namespace, name, uid, dry_run=False)
        except (NotFound, Conflict):
            continue
        except ClusterError as error:
            return f"; pod {name} must be deleted before the old state runs again: {error}"
    return ""


def was_so(followed: Followed, before: Snapshot) -> bool:
    """Whether the new pods fail for a reason for which pods failed before the change, too.

    Where other pods ran, only a failure to schedule is certainly not the fault of the change.
    """
    known = {reason_of(pod) for pod in before.unready} - {""}
    if len(before.uids) > len(before.unready) + len(before.new):
        known &= {"Unschedulable"}
    now = {reason_of(pod) for pod in followed.unready}
    return bool(now) and now <= known


def _is_unready(pod: dict[str, object]) -> bool:
    return not pod_ready(pod)


def carries(proposal: Proposal, pod: dict[str, object]) -> bool:
    """Whether a pod already has what a proposal's plan sets (its template may be an earlier revision's)."""
    steps = [step for item in proposal.planned for step in item.plan.steps]
    return bool(steps) and in_force(pod, operations(steps))


def target_of(live: Live) -> dict[str, str]:
    """Return how the journal identifies an object."""
    return {
        **live.resource.head,
        "resource": live.resource.plural,
        "namespace": live.namespace,
        "name": live.name,
        "uid": live.uid,
    }
