"""What in an audit log keeps a level from being enforced: pods that no longer exist, and gaps in what was audited.

Sources: kubernetes.io/docs/tasks/configure-pod-container/migrate-from-psp and .../enforce-standards-namespace-labels
(audit first); metadata.managedFields tells when the audit label was last set.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubectl_harden.evidence.audit_log import LogSpan
from kubectl_harden.live.audited import Traced, label_set_at, level_of
from kubectl_harden.migration.model import Blocker, Soak
from kubectl_harden.model import Policy
from kubectl_harden.objects import is_static
from kubectl_harden.pod_security.in_force import InForce
from kubectl_harden.pod_security.namespace_labels import includes, rank
from kubectl_harden.times import rfc3339, seconds_of
from kubectl_harden.words import counted

__all__ = ["SOAK_CAUSES", "Unlogged", "soak_blockers"]

_LONGEST_SILENCE: Final = 60
"""Minutes: an API server that logs anything logs more often, so a longer silence counts as a gap in the log."""
_LATE: Final = 300
"""Seconds: files of several API servers are copied one after another, and events may be written in batches."""
_WHY_GAP: Final = "what was created then is not known: the files of every API server are needed, including rotated ones"
_WHY_UNLOGGED: Final = (
    "it may be of another cluster, of one of several API servers, or its audit policy may leave the namespace out"
)
_CAUSE: Final = "audit log"
_CAME: Final = "came and went"
SOAK_CAUSES: Final = (_CAUSE, _CAME)
"""What counts as a cause of these blockers."""


class Unlogged:
    """The running pods of a namespace whose creation falls into the time of an audit log that does not show it.

    A log of another cluster, of one of several API servers, or of an audit policy that leaves a namespace out looks
    like a log in which nothing is wrong. Nothing is expected from before the namespace was audited (admission notes
    nothing where all modes are privileged), nor for mirrors of static pods.
    """

    def __init__(self, soak: Soak | None, namespace: Mapping[str, Any]) -> None:
        self._span = soak.span if soak is not None and soak.span.since is not None else None
        self._name = str(namespace["metadata"]["name"])
        self._since = self._until = 0.0
        if self._span is not None:
            self._since = max(self._span.since or 0, (label_set_at(namespace["metadata"], "audit") or 0) + _LATE)
            self._until = (self._span.last or 0) - _LATE
        self.uids: set[str] = set()
        self.last = 0.0

    def judge(self, pod: Mapping[str, Any]) -> None:
        """Take a pod of the namespace."""
        metadata = pod["metadata"]
        if self._span is None or is_static(pod):
            return
        at = seconds_of(str(metadata.get("creationTimestamp")))
        if at is not None and self._since <= at < self._until and not self._span.shows_creation(self._name, at):
            self.uids.add(str(metadata["uid"]))
            self.last = max(self.last, at)


def soak_blockers(
    soak: Soak | None, namespace: Mapping[str, Any], now: InForce, goal: Policy, unlogged: Unlogged
) -> Iterator[Blocker]:
    """Yield what in the audit log keeps a level from being enforced in a namespace; ``now`` is in force there."""
    if soak is None:
        return
    name = str(namespace["metadata"]["name"])
    since = soak.span.since
    yield from (_of_namespace(name, what, why) for what, why in soak.span.lost(soak.others))
    if since is not None:
        yield from (_of_namespace(name, what, why) for what, why in _unwatched(soak.span, since, time.time()))
        yield from (_of_namespace(name, what, _WHY_UNLOGGED) for what in _missing(soak, unlogged))
        yield from (_of_namespace(name, what, why) for what, why in _unaudited(namespace, now, goal, since))
    for item in soak.traced.get(name, ()):
        made = item.creation
        said = [one.reason for one in made.violations if one.may_violate(goal.level)]
        said += [made.rest] if made.rest else []
        explained = since is None and item.state in ("violates", "fixed")
        # What is refused already, enforcing more does not change.
        changes = not made.refused or rank(now.modes.get("enforce")) < rank(level_of(made.policy))
        if not said or made.last < (since or 0) or explained or not changes:
            continue
        what = f"{made.times:,} {made.done}" if made.times > 1 else f"one {made.done}"
        words = ", ".join(said)
        where = "; its template meets it now" if item.state == "fixed" else ""
        yield Blocker(
            item.target or _maker(item),
            "",
            f"{what} that {'violate' if made.times > 1 else 'violates'} it, the last at {rfc3339(made.last)}: {words}",
            f"{made.done} by {made.user or 'an unknown user'} ({made.agent or 'unknown program'}){where}",
            other_cause=_CAME,
        )


def _maker(item: Traced) -> str:
    made = item.creation
    owner = f"{made.owner[0]} {made.namespace}/{made.owner[1]}" if made.owner is not None else ""
    return owner or f"pods of {made.user or made.agent or 'unknown origin'}"


def _of_namespace(name: str, what: str, why: str) -> Blocker:
    return Blocker(f"Namespace {name}", "", what, why, other_cause=_CAUSE)


def _unwatched(span: LogSpan, since: float, until: float) -> Iterator[tuple[str, str]]:
    """Yield when and why the log is silent."""
    if not span.evaluations:
        why = "its audit policy may leave pods out: they have to be audited, at least at level Metadata"
        yield "no pod that admission judged is in the audit log", why
        return
    for start, end in span.gaps(since, until, _LONGEST_SILENCE):
        yield f"the audit log has nothing from {rfc3339(start)} to {rfc3339(end)}", _WHY_GAP


def _missing(soak: Soak, unlogged: Unlogged) -> Iterator[str]:
    """Yield that running pods are not in the log."""
    if soak.span.crowded:
        yield "the audit log has pods of too many namespaces to be compared with those that run"
    elif unlogged.uids:
        count = len(unlogged.uids)
        runs = "runs, created" if count == 1 else "run, the last created"
        pods = f"{counted(count, 'pod')} that {runs} at {rfc3339(unlogged.last)}"
        yield f"the audit log does not show the creation of {pods}"


def _unaudited(namespace: Mapping[str, Any], now: InForce, goal: Policy, since: float) -> Iterator[tuple[str, str]]:
    """Yield that the log does not show what violates the level, because it was not audited all the time."""
    audited = now.modes.get("audit")
    if not includes(audited, goal):
        what = f"{goal} is not audited there, so the log does not show what violates it"
        yield what, "migrate --apply sets audit, and the time counts from then on"
        return
    set_at = label_set_at(namespace["metadata"], "audit")
    if set_at is None:
        yield (
            f"how long {goal} has been audited there is not known",
            "no field manager shows when the audit label was set",
        )
    elif set_at > since:
        yield (
            f"{goal} has been audited there only since {rfc3339(set_at)}, as far as is known",
            "wait, and run this again",
        )
