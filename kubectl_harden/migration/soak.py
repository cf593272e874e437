"""What an audit log has against enforcing a level: what came and went, and how long a namespace has been watched.

Sources: kubernetes.io/docs/tasks/configure-pod-container/migrate-from-psp and .../enforce-standards-namespace-labels
(audit first); metadata.managedFields tells when the audit label was last set.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubectl_harden.evidence.audit_log import LogSpan, seconds_of
from kubectl_harden.json_values import mapping
from kubectl_harden.live.audited import Traced, level_of
from kubectl_harden.migration.model import Blocker, Soak
from kubectl_harden.model import Policy
from kubectl_harden.pod_security.in_force import InForce
from kubectl_harden.pod_security.namespace_labels import PREFIX, includes, rank
from kubectl_harden.words import counted

__all__ = ["LONGEST_SILENCE", "SOAK_CAUSES", "Unlogged", "moment", "soak_blockers"]

LONGEST_SILENCE: Final = 60
"""Minutes: an API server that logs anything logs more often, and what is longer counts as a gap of the log."""
_LATE: Final = 300
"""Seconds: files of several API servers are copied one after another, and events may be written in batches."""
_MIRROR: Final = "kubernetes.io/config.mirror"
_WHY_GAP: Final = "what was created then is not known: the files of every API server are needed, with the rotated ones"
_WHY_UNLOGGED: Final = (
    "it may be of another cluster, of one of several API servers, or its audit policy may leave the namespace out"
)
_CAUSE: Final = "audit log"
_CAME: Final = "came and went"
SOAK_CAUSES: Final = (_CAUSE, _CAME)
"""What counts as a cause of these blockers."""


def moment(at: float) -> str:
    """Return seconds since 1970 as ``2026-11-28 20:20 UTC``."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


class Unlogged:
    """The pods of a namespace that run, and whose creation an audit log of its time would show and does not.

    A log that is of another cluster, of one of several API servers, or whose policy leaves a namespace out, is like a
    log in which all is well. Nothing is expected of the time before the namespace audits (admission notes nothing of
    what is privileged in all modes), and of the mirrors of static pods.
    """

    def __init__(self, soak: Soak | None, namespace: Mapping[str, Any]) -> None:
        self._soak = soak if soak is not None and soak.seconds is not None else None
        self._name = str(namespace["metadata"]["name"])
        self._since = self._until = 0.0
        if self._soak is not None:
            self._since = max(time.time() - (self._soak.seconds or 0), (_audit_set(namespace) or 0) + _LATE)
            self._until = (self._soak.span.last or 0) - _LATE
        self.uids: set[str] = set()
        self.last = 0.0

    def judge(self, pod: Mapping[str, Any]) -> None:
        """Take a pod of the namespace."""
        metadata = pod["metadata"]
        if self._soak is None or _MIRROR in (metadata.get("annotations") or ()):
            return
        at = seconds_of(str(metadata.get("creationTimestamp")))
        if at is not None and self._since <= at < self._until and not self._soak.span.shows_creation(self._name, at):
            self.uids.add(str(metadata["uid"]))
            self.last = max(self.last, at)


def soak_blockers(
    soak: Soak | None, namespace: Mapping[str, Any], now: InForce, goal: Policy, unlogged: Unlogged
) -> Iterator[Blocker]:
    """Yield what the audit log has against enforcing a level in a namespace, which admission handles so now."""
    if soak is None:
        return
    name = str(namespace["metadata"]["name"])
    until = time.time()
    since = 0.0 if soak.seconds is None else until - soak.seconds
    yield from (_of_namespace(name, what, why) for what, why in soak.span.lost(soak.others))
    if soak.seconds is not None:
        yield from (_of_namespace(name, what, why) for what, why in _unwatched(soak.span, since, until))
        yield from (_of_namespace(name, what, _WHY_UNLOGGED) for what in _missing(soak, unlogged))
        yield from (_of_namespace(name, what, why) for what, why in _unaudited(namespace, now, goal, since))
    for item in soak.traced.get(name, ()):
        made = item.creation
        said = [one.reason for one in made.violations if one.may_violate(goal.level)]
        said += [made.rest] if made.rest else []
        explained = soak.seconds is None and item.state in ("violates", "fixed")
        # What is refused already, enforcing more does not change.
        changes = not made.refused or rank(now.modes.get("enforce")) < rank(level_of(made.policy))
        if not said or made.last < since or explained or not changes:
            continue
        what = f"{made.times:,} {made.done}" if made.times > 1 else f"one {made.done}"
        words = ", ".join(said)
        where = "; its template meets it now" if item.state == "fixed" else ""
        yield Blocker(
            item.target or _maker(item),
            "",
            f"{what} that {'violate' if made.times > 1 else 'violates'} it, the last at {moment(made.last)}: {words}",
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
    """Yield in which of the time the log tells nothing."""
    if not span.evaluations:
        why = "its audit policy may leave pods out: they are needed at least at the level Metadata"
        yield "no pod that admission judged is in the audit log", why
        return
    for start, end in span.gaps(since, until, LONGEST_SILENCE):
        yield f"the audit log has nothing from {moment(start)} to {moment(end)}", _WHY_GAP


def _missing(soak: Soak, unlogged: Unlogged) -> Iterator[str]:
    """Yield what runs and is not in the log."""
    if soak.span.crowded:
        yield "the audit log has pods of too many namespaces to be compared with those that run"
    elif unlogged.uids:
        count = len(unlogged.uids)
        runs = "runs, created" if count == 1 else "run, the last created"
        pods = f"{counted(count, 'pod')} that {runs} at {moment(unlogged.last)}"
        yield f"the audit log does not show the creation of {pods}"


def _unaudited(namespace: Mapping[str, Any], now: InForce, goal: Policy, since: float) -> Iterator[tuple[str, str]]:
    """Yield that the log cannot tell what violates the level, since it was not audited all the time."""
    audited = now.modes.get("audit")
    if not includes(audited, goal):
        what = f"{goal} is not audited there, so the log does not show what violates it"
        yield what, "migrate --apply sets audit, and the time counts from then on"
        return
    set_at = _audit_set(namespace)
    if set_at is None:
        yield (
            f"how long {goal} has been audited there is not known",
            "no field manager shows when the audit label was set",
        )
    elif set_at > since:
        yield (
            f"{goal} has been audited there only since {moment(set_at)}, as far as is known",
            "wait, and run this again",
        )


def _audit_set(namespace: Mapping[str, Any]) -> float | None:
    """Return when the audit label was last set, at the latest, by its field manager."""
    found = []
    for entry in namespace["metadata"].get("managedFields") or ():
        labels = mapping(mapping(mapping(mapping(entry).get("fieldsV1")).get("f:metadata")).get("f:labels"))
        if any(f"f:{PREFIX}audit{part}" in labels for part in ("", "-version")):
            set_at = seconds_of(str(mapping(entry).get("time")))
            if set_at is None:
                return None
            found.append(set_at)
    return max(found, default=None)
