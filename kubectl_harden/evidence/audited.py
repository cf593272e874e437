"""Similar events of an audit log, combined: who created which violating pods, how often, and for which workload.

At the level Metadata an event does not name the pod that a controller makes. Its owner is found in the log itself: the
same violations were noted when the ReplicaSet, Job or DaemonSet was created (admission.go, EvaluatePod and
ValidatePodController have the same words for the same template).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from kubectl_harden.evidence.audit_log import AuditEvent
from kubectl_harden.model import Level
from kubectl_harden.pod_security.messages import Said
from kubectl_harden.pod_security.policy import worded

__all__ = ["Audited", "Creation"]

_MOST: Final = 5_000
"""How many different creations are kept; more are only counted."""
_MOST_MAKERS: Final = 20_000
_EXAMPLES: Final = 3
_MAKES: Final = {
    "replicaset-controller": "ReplicaSet",
    "replication-controller": "ReplicationController",
    "statefulset-controller": "StatefulSet",
    "daemon-set-controller": "DaemonSet",
    "job-controller": "Job",
}
"""The controllers of kube-controller-manager that create pods (cmd/kube-controller-manager/names), and their owners'
kinds.
"""
_KINDS: Final = {
    "replicasets.apps": "ReplicaSet",
    "replicationcontrollers": "ReplicationController",
    "statefulsets.apps": "StatefulSet",
    "daemonsets.apps": "DaemonSet",
    "jobs.batch": "Job",
}
_SUFFIX: Final = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{5}$")
"""What generateName appends (apimachinery, pkg/util/rand)."""
_HASH: Final = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}$")
_ORDINAL: Final = re.compile(r"-[0-9]+$")
_DEBUGGER: Final = re.compile(r'"(debugger|node-debugger)-[a-z0-9]{5}"')
"""What kubectl debug calls a container that it makes (pkg/cmd/debug)."""


class Creation(NamedTuple):
    """Pods that violate a policy: ``times`` were created between two moments (seconds since 1970).

    ``resource`` is as in AuditEvent (a debug container is ``pods/ephemeralcontainers``), ``owner`` the kind and name of
    the owner, as far up as the log tells, None where it does not; ``candidates`` are those whose templates violate the
    same, where there are several. ``kind`` is the kind that a controller makes pods for. ``names`` are a few examples.
    ``policy`` is ``restricted:latest``. ``rest`` is what admission said that is not known here: the words of newer
    controls. ``changed`` pods existed before. ``of_template`` tells that the log has the same violations for the owner,
    so that none comes from a mutation at admission.
    """

    namespace: str
    resource: str
    owner: tuple[str, str] | None
    kind: str
    user: str
    agent: str
    policy: str
    violations: tuple[Said, ...]
    refused: bool
    times: int
    first: float
    last: float
    names: tuple[str, ...] = ()
    candidates: tuple[tuple[str, str], ...] = ()
    rest: str = ""
    changed: bool = False
    of_template: bool = False

    def may_violate(self, level: Level) -> bool:
        """Whether the pods may violate a level, by what admission said about them at another one."""
        return bool(self.rest) or any(said.may_violate(level) for said in self.violations)

    @property
    def done(self) -> str:
        """What was done to the pods."""
        return "refused" if self.refused else "changed" if self.changed else "created"

    @property
    def words(self) -> str:
        """The violations in admission's words, those that are not known here included."""
        known = (worded(said.reason, said.detail) for said in self.violations)
        return ", ".join((*known, *((self.rest,) if self.rest else ())))


class Audited:
    """Takes the events of a log one by one; what it keeps does not grow with their number."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, ...], Creation] = {}
        self._makers: dict[tuple[str, str, str], dict[str, None]] = {}
        self._made_by: dict[tuple[str, str, str], tuple[str, str]] = {}
        self._remembered = 0
        self.others = 0

    def add(self, event: AuditEvent) -> None:
        """Count an event."""
        controller = _controller(event)
        kind = _KINDS.get(event.resource)
        if kind is not None and event.name:
            self._remember(event, kind, controller)
        if event.resource.partition("/")[0] != "pods":
            return
        owner = event.owner or _named_owner(event, controller)
        violations = tuple(
            said._replace(detail=_DEBUGGER.sub(r'"\1-*"', said.detail)) for said in event.message.violations
        )
        agent = controller or event.agent.partition("/")[0]
        key = (
            event.namespace, event.resource, owner, event.user, agent, event.message.policy,
            tuple((said.reason, said.detail) for said in violations), event.message.rest, event.refused, event.changed,
        )  # fmt: skip
        known = self._found.get(key)
        if known is None:
            if len(self._found) >= _MOST:
                self.others += 1
                return
            known = Creation(
                event.namespace, event.resource, owner, _MAKES.get(controller, ""), event.user, agent,
                event.message.policy, violations, event.refused, 0, event.at, event.at,
                rest=event.message.rest, changed=event.changed,
            )  # fmt: skip
        names = known.names
        if event.name and event.name not in names and len(names) < _EXAMPLES:
            names = (*names, event.name)
        self._found[key] = known._replace(
            times=known.times + 1, first=min(known.first, event.at), last=max(known.last, event.at), names=names
        )

    def _remember(self, event: AuditEvent, kind: str, controller: str) -> None:
        """Keep a possible owner of pods of which only the violations are known."""
        words = ", ".join(worded(said.reason, said.detail) for said in event.message.violations)
        known = event.name in self._makers.get((event.namespace, kind, words), ())
        if known or self._remembered >= _MOST_MAKERS:
            return
        self._remembered += 1
        self._makers.setdefault((event.namespace, kind, words), {})[event.name] = None
        if controller == "deployment-controller" and _HASH.search(event.name):
            self._made_by[event.namespace, kind, event.name] = ("Deployment", _HASH.sub("", event.name))
        elif controller == "cronjob-controller" and _ORDINAL.search(event.name):
            self._made_by[event.namespace, kind, event.name] = ("CronJob", _ORDINAL.sub("", event.name))

    def creations(self) -> Iterator[Creation]:
        """Yield what was created, the latest first, each with its owner as far as the log tells."""
        joined: dict[tuple[object, ...], Creation] = {}
        for item in self._found.values():
            found = self._resolved(item)
            key = (
                found.namespace, found.resource, found.owner, found.candidates, found.user, found.agent, found.policy,
                found.violations, found.rest, found.refused, found.changed,
            )  # fmt: skip
            joined[key] = found if key not in joined else _added(joined[key], found)
        yield from sorted(joined.values(), key=lambda item: (-item.last, item.namespace, item.resource))

    def _resolved(self, item: Creation) -> Creation:
        owner = item.owner
        if owner is None and item.kind:
            names = self._makers.get((item.namespace, item.kind, item.words), {})
            tops = dict.fromkeys(self._top(item.namespace, (item.kind, name)) for name in names)
            if len(tops) > 1:
                return item._replace(candidates=tuple(tops))
            item = item._replace(owner=next(iter(tops), None), of_template=bool(tops))
        elif owner is not None:
            kind, name = owner
            of_template = name in self._makers.get((item.namespace, kind, item.words), ())
            item = item._replace(owner=self._top(item.namespace, owner), of_template=of_template)
        return item

    def _top(self, namespace: str, owner: tuple[str, str]) -> tuple[str, str]:
        return self._made_by.get((namespace, *owner), owner)


def _added(one: Creation, other: Creation) -> Creation:
    names: Sequence[str] = tuple(dict.fromkeys((*one.names, *other.names)))
    first, last = min(one.first, other.first), max(one.last, other.last)
    of_template = one.of_template and other.of_template
    return one._replace(
        times=one.times + other.times, first=first, last=last, names=tuple(names[:_EXAMPLES]), of_template=of_template
    )


def _controller(event: AuditEvent) -> str:
    """Return which Kubernetes controller made a request, "" for others."""
    if event.user.startswith("system:serviceaccount:kube-system:"):
        return event.user.rpartition(":")[2]
    if not event.agent.startswith("kube-controller-manager/"):
        return ""
    return event.agent.rpartition("/")[2].rpartition(":")[2]


def _named_owner(event: AuditEvent, controller: str) -> tuple[str, str] | None:
    """Return the owner of a pod, where its name tells."""
    kind = _MAKES.get(controller)
    if kind is None or not event.name or event.resource != "pods":
        return None
    suffix = _ORDINAL if kind == "StatefulSet" else _SUFFIX
    return (kind, suffix.sub("", event.name)) if suffix.search(event.name) else None
