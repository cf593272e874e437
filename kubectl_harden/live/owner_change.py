"""Changes of custom resources that operators create workloads from, watched until the workloads follow.

What a field of a resource does is up to its operator: the resource is patched, the workload is watched until it meets
the level and its pods run, and the patch is rolled back where it does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Any, Final

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.errors import ClusterError, Conflict, InputError, NotFound, Unreachable
from kubectl_harden.json_values import same, value_at
from kubectl_harden.live.apply import (
    Applier,
    Outcome,
    carries,
    explained,
    reverted,
    target_of,
    unblocked,
    was_so,
    written,
)
from kubectl_harden.live.at_owner import AtOwner, Owners, set_fields
from kubectl_harden.live.find import Live
from kubectl_harden.live.follow import Followed, Snapshot, follow, take_snapshot
from kubectl_harden.live.journal import Journal
from kubectl_harden.live.propose import ApplyOptions, Proposal, prove_pods, tries, with_way_back
from kubectl_harden.live.rollout import Progress, progress, watched
from kubectl_harden.objects import name_of
from kubectl_harden.planning.json_patch import inverse_of, moved_on, touched
from kubectl_harden.planning.verdict import judged
from kubectl_harden.pod_security.policy import worded

__all__ = ["Changer"]

_POLL: Final = 0.5


class Changer:
    """Carries changes of custom resources out, one call each.

    ``applier`` tries pods and explains failures, ``owners`` finds the change. A set ``stop`` ends the watching.
    """

    def __init__(
        self,
        cluster: Cluster,
        journal: Journal,
        applier: Applier,
        owners: Owners,
        *,
        options: ApplyOptions,
        seconds: float,
        report: Callable[[str, str], None],
        stop: Event,
    ) -> None:
        self._cluster = cluster
        self._journal = journal
        self._applier = applier
        self._owners = owners
        self._options = options
        self._seconds = seconds
        self._changed_ones: set[str] = set()
        self._report = report
        self._stop = stop

    def change(self, proposal: Proposal, found: AtOwner) -> Outcome:
        """Change what a workload is made from, and follow the workload. Raises HardenError for the journal's errors."""
        change = _allowed(proposal, found)
        if isinstance(change, Outcome):
            return change
        if not change.patch:
            return self._says_so(proposal, change)
        proved = prove_pods(self._cluster, proposal._replace(returned=proposal.goal, refusal=None))
        if proved.injected:
            words = f"its pods would still violate the level: {'; '.join(proved.injected)}"
            proved = proved._replace(refusal=words, denied=True)
        proved = with_way_back(self._cluster, proved, self._options)
        if proved.refusal is not None:
            return Outcome(proved, "refused", proved.refusal)
        if proved.trial and (failed := self._applier.try_first(proved)) is not None:
            return failed
        for _ in tries():
            try:
                return self._changed(proved, change)
            except Conflict:
                # Its operator writes its status, for example: what counts is that the change is still the same.
                again = _allowed(proposal, self._owners.of(proposal))
                if isinstance(again, Outcome):
                    return again
                if not same(list(again.patch), list(change.patch)):
                    words = f"{change.name} was changed by others in the meantime: try again"
                    return Outcome(proposal, "skipped", words)
                change = again
        return Outcome(proposal, "failed", f"{found.name} keeps being changed by others; not changed")

    def _says_so(self, proposal: Proposal, change: Proposal) -> Outcome:
        """Follow a workload whose custom resource was already changed for another workload."""
        if change.live.uid not in self._changed_ones:
            words = f"{change.name} already says so, but its operator does not act on it"
            return Outcome(proposal, "refused", words)
        try:
            before = take_snapshot(self._cluster, proposal.live.value, partial(carries, proposal))
            return self._followed(proposal, change, before)[0]
        except ClusterError as error:
            return Outcome(proposal, "unwatched", f"{change.name} is changed, but could not be watched: {error}")

    def _changed(self, proposal: Proposal, change: Proposal) -> Outcome:
        """Write a change, and follow it. Raises Conflict where the resource has changed: nothing is written then."""
        live, owner = proposal.live, change.live
        try:
            before = take_snapshot(self._cluster, live.value, partial(carries, proposal))
        except ClusterError as error:
            return Outcome(proposal, "failed", f"not changed, since its pods could not be watched: {error}")
        expected = change.returned or change.goal
        noted = self._journal.begin(
            target_of(owner),
            list(change.patch),
            inverse_of(owner.value, expected, change.patch),
            touched(owner.value, change.patch),
            touched(expected, change.patch),
            complete=progress(live.value, ()).done,
            ownership=change.ownership,
            made={key: item for key, item in live.value.items() if key != "status"},
        )
        self._report(proposal.name, f"patching {change.name}")
        try:
            returned = written(self._cluster, owner, change.patch, change.goal)
        except (Conflict, ClusterError) as error:
            if isinstance(error, Unreachable) and error.sent:
                return Outcome(proposal, "unknown", f"it is not known whether {change.name} was changed: {error}")
            self._journal.failed(noted, str(error))
            if isinstance(error, Conflict):
                raise
            return Outcome(proposal, "failed", f"{change.name} is not changed: {error}")
        self._changed_ones.add(owner.uid)
        change = change._replace(returned=returned)
        self._journal.done(noted, inverse_of(owner.value, returned, change.patch))
        try:
            outcome, unready = self._followed(proposal, change, before)
        except ClusterError as error:
            words = f"{change.name} was changed, but what it creates could not be watched: {error}"
            return Outcome(proposal, "unwatched", words)
        if outcome.state != "unwatched":
            self._journal.followed(noted, outcome.state)
        if outcome.state != "left":
            return outcome
        if not self._options.rollback:
            return outcome._replace(message=f"{outcome.message}; {change.name} is left as it is now")
        return self._taken_back(outcome, change, noted, unready)

    def _followed(
        self, proposal: Proposal, change: Proposal, before: Snapshot
    ) -> tuple[Outcome, tuple[dict[str, object], ...]]:
        """Wait until a workload meets the level and its pods run; also returns the new pods that do not.

        Raises ClusterError.
        """
        live = proposal.live
        self._report(proposal.name, f"waiting for the operator of {change.name}")
        now = self._awaited(live, lambda value: not self._violations(proposal, value))
        if now is None:
            if self._stop.is_set():
                words = f"{change.name} is changed; its operator had not acted on it when the run was interrupted"
                return Outcome(proposal, "unwatched", words), ()
            last = self._awaited(live, lambda _value: True, seconds=0.0)
            left = "it is not there" if last is None else "; ".join(self._violations(proposal, last))
            words = f"its operator does not act on it within {self._seconds:g} s: {left}"
            return Outcome(proposal, "left", words), ()
        fields = ", ".join(path for path, _ in set_fields(change))
        made = f"made so by {change.name}" + (f" ({fields})" if fields else "")
        silent = watched(now)
        if silent is not None:
            return Outcome(proposal, "applied", f"{made}; {silent}"), ()
        unblocked(self._cluster, live, before.unready)
        followed = self._follow(live, now, before)
        if followed.state == "ready":
            return Outcome(proposal, "applied", f"{made}; its pods are ready"), ()
        if followed.state == "interrupted":
            return Outcome(proposal, "unwatched", f"{made}; its pods were not ready yet when it was interrupted"), ()
        failed = explained(self._cluster, proposal, followed)
        if was_so(followed, before):
            words = f"{failed.message}; so did the pods before the change, which is left in place"
            return failed._replace(state="down", message=words, blamed=None), ()
        return failed, followed.unready

    def _follow(self, live: Live, value: dict[str, Any], before: Snapshot) -> Followed:
        def report(now: Progress) -> None:
            self._report(name_of(live.resource.kind, live.value), f"{now.ready} of {now.wanted} new pods ready")

        return follow(self._cluster, live.resource, value, before, self._seconds, self._stop, report)

    def _violations(self, proposal: Proposal, value: dict[str, Any]) -> list[str]:
        """Return what a workload still violates now although its plan would fix it."""
        left = {(item.reason, item.detail) for one in proposal.planned for item in one.plan.remaining}
        try:
            checked = judged(proposal.live.changed(value).subject).checked
        except InputError as error:
            return [str(error)]
        if not checked:
            return ["it has no pod template"]
        return [
            worded(one.reason, one.detail)
            for item in checked
            for one in item.violations
            if (one.reason, one.detail) not in left and not one.accepted
        ]

    def _awaited(
        self, live: Live, is_so: Callable[[dict[str, Any]], bool], seconds: float | None = None
    ) -> dict[str, Any] | None:
        """Return a workload once a condition holds for it, None after too long. An operator may recreate it."""
        deadline = time.monotonic() + (self._seconds if seconds is None else seconds)
        while True:
            try:
                value = {**live.resource.head, **self._cluster.get(live.resource, live.namespace, live.name)}
                if "deletionTimestamp" not in value["metadata"] and is_so(value):
                    return value
            except NotFound:
                pass
            if self._stop.is_set() or time.monotonic() > deadline:
                return None
            self._stop.wait(_POLL)

    def _taken_back(
        self, failed: Outcome, change: Proposal, noted: str, unready: tuple[dict[str, object], ...]
    ) -> Outcome:
        """Roll a change of a custom resource back, and wait until its operator has followed."""
        owner, live = change.live, failed.proposal.live
        inverse = inverse_of(owner.value, change.returned or change.goal, change.patch)
        undo = self._cluster.connection.commands.harden("undo", self._journal.run)
        self._report(failed.proposal.name, f"rolling back the change of {change.name}")
        for _ in tries():
            try:
                value = self._cluster.get(owner.resource, owner.namespace or None, owner.name)
                now = owner.changed({**owner.resource.head, **value})
                moved = moved_on(now.value, inverse)
                if now.uid != owner.uid or moved is not None:
                    words = f"someone changed {moved or change.name} in the meantime"
                    return failed._replace(message=f"{failed.message}; not rolled back, because {words}")
                _, owned = reverted(self._cluster, now, inverse, change.ownership)
            except Conflict:
                continue
            except ClusterError as error:
                return failed._replace(message=f"{failed.message}; rolling it back failed ({error}): {undo}")
            self._journal.undone(noted, failed.message)
            words = f"{failed.message}; {change.name} is as it was before"
            words += f"; {owned}" if owned else ""
            return failed._replace(state="rolled back", message=words + self._as_before(live, unready))
        return failed._replace(message=f"{failed.message}; not rolled back, because others keep changing it: {undo}")

    def _as_before(self, live: Live, unready: tuple[dict[str, object], ...]) -> str:
        """Wait until a workload has its old template again, and return what a person should know about it.

        Its new pods that do not run would keep a StatefulSet's controller from it.
        """
        paths = [location.path for location in live.subject.templates()]

        def is_so(value: dict[str, Any]) -> bool:
            return all(same(value_at(value, path), value_at(live.value, path)) for path in paths)

        try:
            if self._awaited(live, is_so) is None:
                return ", but its operator has not followed yet"
            return unblocked(self._cluster, live, unready)
        except ClusterError as error:
            return f", and whether its operator follows could not be watched: {error}"


def _allowed(proposal: Proposal, found: AtOwner) -> Proposal | Outcome:
    """Return the change of a resource, or the outcome where it may not be made."""
    change = found.change
    if change is None:
        return Outcome(proposal._replace(denied=found.denied), "refused", f"{found.name}: {found.problem}")
    if change.refusal is not None:
        return Outcome(proposal._replace(denied=change.denied), "refused", f"{found.name}: {change.refusal}")
    return change
